"""Sign-ins as their owners see them: what each is recognised by, and how it is ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from broker import events
from broker.database import now
from broker.errors import NotFound
from broker.identity.models import Identity, SignIn
from broker.identity.service import Person
from broker.runtime import Runtime


@dataclass(frozen=True)
class Listed:
    """One sign-in that lives. `provider` is the one that it was made with, None for a password."""

    id: int
    created_at: datetime
    expires_at: datetime
    seen_at: datetime | None
    address: str | None
    program: str | None
    provider: str | None
    is_this: bool


def mine(db: Session, person: Person) -> list[Listed]:
    """The person's sign-ins that live, this one first, then the one seen last; API tokens have a list of their own."""
    rows = db.execute(
        select(SignIn, Identity.provider)
        .outerjoin(Identity, Identity.id == SignIn.identity_id)
        .where(SignIn.user_id == person.user_id, SignIn.name.is_(None), *living())
    )
    found = [_listed(row[0], row[1], person) for row in rows]
    return sorted(found, key=lambda one: (one.is_this, one.seen_at or one.created_at), reverse=True)


def _listed(row: SignIn, provider: str | None, person: Person) -> Listed:
    told = (row.created_at, row.expires_at, row.seen_at, row.address, row.program)
    return Listed(row.id, *told, provider=provider, is_this=row.id == person.sign_in_id)


def identities(db: Session, person: Person) -> Sequence[Identity]:
    """Who the person is at providers, the oldest link first."""
    return db.scalars(select(Identity).where(Identity.user_id == person.user_id).order_by(Identity.id)).all()


def living() -> tuple[ColumnElement[bool], ...]:
    """That a sign-in has neither ended nor expired."""
    return (SignIn.revoked_at.is_(None), SignIn.expires_at > now())


def revoke(runtime: Runtime, person: Person, sign_in_id: int) -> None:
    """End one of the person's own; NotFound where it is not theirs. Twice is once."""
    with runtime.database.transaction() as db:
        row = db.get(SignIn, sign_in_id)
        if row is None or row.user_id != person.user_id:
            raise NotFound(f"You have no sign-in {sign_in_id}.", hint="Look at the list again.")
        end(db, [sign_in_id], "account:revoke", person.name, actor=person.name)


def revoke_others(runtime: Runtime, person: Person) -> list[int]:
    """End all of the person's but the one that asks; their ids."""
    with runtime.database.transaction() as db:
        own = select(SignIn.id).where(SignIn.user_id == person.user_id, SignIn.name.is_(None), *living())
        others = list(db.scalars(own.where(SignIn.id != (person.sign_in_id or 0))))
        end(db, others, "account:revoke", person.name, actor=person.name)
        return others


def end(db: Session, ids: Sequence[int], action: str, subject: str, *, actor: str = events.SYSTEM) -> None:
    """End these, with a line in the audit log for each that lived; gateways and live pages close what hangs on them."""
    ended = db.scalars(
        update(SignIn)
        .where(SignIn.id.in_(ids), SignIn.revoked_at.is_(None))
        .values(revoked_at=now(), sealed_tokens=None, refresh_at=None)
        .returning(SignIn.id)
        .execution_options(synchronize_session=False)
    )
    for sign_in_id in ended.all():
        events.record(db, action, subject, actor=actor, sign_in=sign_in_id)
