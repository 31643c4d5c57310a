"""API tokens: sign-ins of programs, with a name, an end, and some of their owner's rights. Only a hash is kept."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from broker import events
from broker.database import now
from broker.errors import Forbidden, InvalidRequest, NotFound, OverQuota
from broker.identity.models import SignIn, User
from broker.identity.rights import FOR_OTHERS, Right, Role
from broker.identity.service import Person, digest
from broker.runtime import Runtime

PREFIX = "bd_"  # so that a scanner of secrets, or a reader, knows one
MOST, LONGEST = 50, timedelta(days=366)
LONGEST_FOR_OTHERS = timedelta(hours=24)


def make(runtime: Runtime, person: Person, name: str, rights: Iterable[Right], lasts: timedelta) -> tuple[str, SignIn]:
    """A new token of this person's: its secret, which is told only now, and its row.

    It can always read, and never do more than who makes it. Forbidden for other rights; OverQuota beyond `MOST`.
    """
    wanted = {Right.READ, *rights}
    for right in sorted(wanted):
        person.must(right)
    if not timedelta() < lasts <= LONGEST:
        raise InvalidRequest(f"A token cannot last {lasts}.", hint=f"Give at most {LONGEST.days} days.")
    with runtime.database.transaction() as db:
        if len(_good(db, person.user_id)) >= MOST:
            raise OverQuota(f"You have {MOST} tokens already.", hint="Revoke one that is not used any more.")
        return add(db, db.get_one(User, person.user_id), name, wanted, lasts, actor=person.name)


def listed(db: Session, person: Person) -> list[SignIn]:
    """The person's tokens that are good, the newest first; those that programs were given for this person, too."""
    return _good(db, person.user_id)


def revoke(runtime: Runtime, person: Person, token_id: int) -> None:
    """End a token, and those that a program was given with it; gateways close what they opened. Twice is once."""
    with runtime.database.transaction() as db:
        token = db.get(SignIn, token_id)
        if token is None or token.user_id != person.user_id or token.rights is None:
            raise NotFound(f"There is no token {token_id} of yours.", hint="Look at your list of tokens.")
        if token.revoked_at is None:
            given = and_(SignIn.acting_id == person.user_id, SignIn.revoked_at.is_(None))
            db.execute(update(SignIn).where(or_(SignIn.id == token_id, given)).values(revoked_at=now()))
            events.record(db, "account:token-revoked", person.name, actor=person.name, token=token.name)


def act_for(
    runtime: Runtime, service: Person, user_name: str, rights: Iterable[Right], lasts: timedelta
) -> tuple[str, SignIn]:
    """A token with which this service account acts for a user, to read, launch and connect; a day at most.

    The user sees it among the own tokens, and can revoke it.
    """
    service.must(Right.ACT)
    wanted = {Right.READ, *rights}
    if not wanted <= FOR_OTHERS or not timedelta() < lasts <= LONGEST_FOR_OTHERS:
        allowed = ", ".join(sorted(FOR_OTHERS))
        raise Forbidden("A program cannot be given this for a user.", hint=f"It can be: {allowed}, for a day at most.")
    with runtime.database.transaction() as db:
        user = db.scalar(select(User).where(User.name == user_name, User.role != Role.SERVICE))
        if user is None:
            raise NotFound(f"There is no user {user_name[:40]!r}.", hint="Users exist from their first sign-in on.")
        made = add(db, user, service.full_name, wanted, lasts, actor=service.name)
        made[1].acting_id = service.user_id
        return made


def add(
    db: Session, user: User, name: str, rights: Iterable[Right], lasts: timedelta, *, actor: str
) -> tuple[str, SignIn]:
    """Write a token of the user's down, whatever its rights: its secret and its row. The caller has asked who may."""
    secret = PREFIX + secrets.token_urlsafe(32)
    row = SignIn(
        user_id=user.id,
        token_hash=digest(secret),
        expires_at=now() + lasts,
        name=name,
        rights=sorted(right.value for right in rights),
    )
    db.add(row)
    db.flush()
    events.record(db, "account:token", user.name, actor=actor, token=name, rights=row.rights)
    return secret, row


def _good(db: Session, user_id: int) -> list[SignIn]:
    query = select(SignIn).where(
        SignIn.user_id == user_id,
        SignIn.rights.is_not(None),
        SignIn.revoked_at.is_(None),
        SignIn.expires_at > now(),
    )
    return list(db.scalars(query.order_by(SignIn.id.desc())))
