"""Who guesses must wait, and nobody else for long.

Failures count for five minutes: of a name from one address, of an address whatever the names, and of a name from
everywhere. The last limit alone could let strangers lock somebody out; so it spares the addresses from which that
person signed in lately. What is refused here writes nothing: neither table nor memory grows with a flood.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from broker.database import now
from broker.errors import TooManyAttempts
from broker.identity.models import FailedSignIn, SignIn, User

WITHIN = timedelta(minutes=5)
KNOWN_FOR = timedelta(days=30)
OF_NAME_HERE, OF_ADDRESS, OF_NAME = 10, 30, 60
LONGEST = 64  # characters of a name that are kept


@dataclass(frozen=True)
class Failures:
    """How many attempts failed lately; `known_here` where the person signed in from this very address before."""

    of_name_here: int
    of_address: int
    of_name: int
    known_here: bool


def is_guessing(failures: Failures) -> bool:
    """Whether one more attempt is refused."""
    if failures.of_name_here >= OF_NAME_HERE or failures.of_address >= OF_ADDRESS:
        return True
    return failures.of_name >= OF_NAME and not failures.known_here


def refuse_guessing(db: Session, name: str, address: str) -> None:
    """Raise TooManyAttempts where this name, from this address, must wait."""
    if is_guessing(_failures(db, name[:LONGEST], neighbourhood(address))):
        seconds = int(WITHIN.total_seconds())
        raise TooManyAttempts(
            "Too many attempts to sign in have failed.",
            hint=f"Wait {seconds // 60} minutes, then try again.",
            retry_after=seconds,
        )


def note_failure(db: Session, name: str, address: str) -> None:
    """Count a failure, and forget those that no longer count."""
    db.execute(delete(FailedSignIn).where(FailedSignIn.at < now() - WITHIN))
    db.add(FailedSignIn(name=name[:LONGEST], address=neighbourhood(address)))


def neighbourhood(address: str) -> str:
    """Whom an address stands for: itself, or of IPv6 its /64, which is one customer's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:LONGEST]
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _failures(db: Session, name: str, near: str) -> Failures:
    lately = FailedSignIn.at > now() - WITHIN
    of_name, of_address = FailedSignIn.name == name, FailedSignIn.address == near
    counted = db.execute(
        select(
            func.count().filter(of_name, of_address),
            func.count().filter(of_address),
            func.count().filter(of_name),
        ).where(lately, of_name | of_address)
    ).one()
    known = counted[2] >= OF_NAME and _known(db, name, near)
    return Failures(*counted, known_here=known)


def _known(db: Session, name: str, near: str) -> bool:
    addresses = db.scalars(
        select(SignIn.address)
        .join(User, User.id == SignIn.user_id)
        .where(User.name == name, SignIn.created_at > now() - KNOWN_FOR, SignIn.address.is_not(None))
        .distinct()
    )
    return near in {neighbourhood(address or "") for address in addresses}
