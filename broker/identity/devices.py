"""Signing a program in from a browser (after RFC 8628): the program shows a code, its user confirms it in the portal.

The program keeps a device code, which is a secret; the user code is short, is shown to people, and opens nothing by
itself. What the program gets is an API token, and it gets it once.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from broker import events
from broker.database import now
from broker.errors import Forbidden, NotDecided, NotFound, TooManyAttempts
from broker.identity import tokens
from broker.identity.models import DeviceGrant, SignIn, User
from broker.identity.rights import FOR_OTHERS, Right
from broker.identity.service import Person, digest, person_of
from broker.runtime import Runtime

LIVES, TOKEN_LIVES = timedelta(minutes=10), timedelta(days=30)
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words (RFC 8628, 6.1)
INTERVAL = 3  # seconds between a program's questions
MOST, MOST_FROM_ONE = 1000, 20  # that wait, in all and from one address
AT_MOST = FOR_OTHERS | {Right.LOOK, Right.OPERATE}


@dataclass(frozen=True)
class Begun:
    """What the program is told: a secret to ask with, and the code that it shows."""

    device_code: str
    user_code: str


def begin(runtime: Runtime, program: str, client: str, rights: Iterable[Right]) -> Begun:
    """Begin for a program at this address that wants these rights. Forbidden for others than `AT_MOST`."""
    wanted = {Right.READ, *rights}
    if not wanted <= AT_MOST:
        raise Forbidden("A program cannot ask for this.", hint=f"It can: {', '.join(sorted(AT_MOST))}.")
    begun = Begun(secrets.token_urlsafe(32), _user_code())
    with runtime.database.transaction() as db:
        db.execute(delete(DeviceGrant).where(DeviceGrant.expires_at < now()))
        _refuse_flood(db, client)
        db.add(
            DeviceGrant(
                device_hash=digest(begun.device_code),
                user_code=begun.user_code,
                program=program,
                client=client,
                rights=sorted(right.value for right in wanted),
                expires_at=now() + LIVES,
            )
        )
    return begun


def waiting(db: Session, user_code: str) -> DeviceGrant:
    """What waits for this code to be confirmed, or NotFound."""
    plain = "".join(letter for letter in user_code.upper() if letter.isalpha())
    code = f"{plain[:4]}-{plain[4:]}"
    grant = db.scalar(select(DeviceGrant).where(DeviceGrant.user_code == code, DeviceGrant.expires_at > now()))
    if grant is None or grant.decided_at is not None:
        raise NotFound(
            "No program waits with this code.", hint="Compare it with what the program shows; it is old soon."
        )
    return grant


def decide(runtime: Runtime, person: Person, user_code: str, *, allow: bool) -> DeviceGrant:
    """Let the program sign in as this person, or refuse it. Of the rights that it wants it gets those of the person."""
    with runtime.database.transaction() as db:
        grant = waiting(db, user_code)
        grant.user_id, grant.allowed, grant.decided_at = person.user_id, allow, now()
        grant.rights = [right for right in grant.rights if person.may(Right(right))]
        verb = "allowed" if allow else "refused"
        events.record(db, f"account:program-{verb}", person.name, actor=person.name, program=grant.program)
        return grant


def redeem(runtime: Runtime, device_code: str) -> tuple[str, SignIn, Person]:
    """The program's token, its row and whose it is, once; NotDecided until then, Forbidden where it was refused."""
    with runtime.database.transaction() as db:
        grant = db.scalar(
            select(DeviceGrant).where(DeviceGrant.device_hash == digest(device_code), DeviceGrant.expires_at > now())
        )
        if grant is None:
            raise NotFound("This device code is unknown, was used, or is too old.", hint="Begin again.")
        if grant.decided_at is None or grant.user_id is None:
            raise NotDecided("Nobody has confirmed the code yet.", hint=f"Ask again in {INTERVAL} seconds.")
        if not grant.allowed:
            raise Forbidden("Signing in was refused in the browser.", hint="Begin again if that was a mistake.")
        _use_up(db, grant)
        user = db.get_one(User, grant.user_id)
        secret, row = tokens.add(
            db, user, grant.program, {Right(right) for right in grant.rights}, TOKEN_LIVES, actor=user.name
        )
        return secret, row, person_of(user, row.id)


def _use_up(db: Session, grant: DeviceGrant) -> None:
    """Of two callers at once one goes on."""
    if not db.execute(delete(DeviceGrant).where(DeviceGrant.id == grant.id).returning(DeviceGrant.id)).scalar():
        raise NotFound("This device code was used.", hint="Begin again.")


def _user_code() -> str:
    letters = [secrets.choice(LETTERS) for _ in range(8)]
    return f"{''.join(letters[:4])}-{''.join(letters[4:])}"


def _refuse_flood(db: Session, client: str) -> None:
    open_ = select(func.count()).select_from(DeviceGrant)
    from_one = db.scalar(open_.where(DeviceGrant.client == client)) or 0
    if from_one >= MOST_FROM_ONE or (db.scalar(open_) or 0) >= MOST:
        raise TooManyAttempts(
            "Too many programs wait to be signed in.", hint="Try again in a few minutes.", retry_after=60
        )
