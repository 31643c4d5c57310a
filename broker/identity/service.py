"""Accounts and sign-ins. Here one proves oneself by a password; by an OpenID provider in arrivals.py."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from broker import events
from broker.database import now
from broker.errors import Forbidden, InvalidRequest, LocalAccountsOff, NotFound, NotSignedIn, WrongPassword
from broker.identity.guessing import note_failure, refuse_guessing
from broker.identity.models import SignIn, User
from broker.identity.rights import MAY, Right, Role
from broker.runtime import Runtime

USER_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,30}$")
SEEN_EVERY = timedelta(minutes=1)
_SEAL_KEY = secrets.token_bytes(32)
_seals: dict[int, bytes] = {}  # by service account's id, after its password was right


@dataclass(frozen=True)
class CameFrom:
    """Where a request came from: the address, and what the program says that it is."""

    address: str = ""
    program: str = ""


NOWHERE = CameFrom()


@dataclass(frozen=True)
class Person:
    """Who asks, as everything behind the sign-in knows them."""

    user_id: int
    name: str
    full_name: str
    uid: int
    role: Role
    groups: frozenset[str]
    sign_in_id: int | None = None
    only: frozenset[Right] | None = None  # what the token that was shown is limited to

    @property
    def is_admin(self) -> bool:
        """Whether every environment and course is open to this person."""
        return self.role is Role.ADMIN

    @property
    def is_service(self) -> bool:
        """Whether this is a program, which launches for people that we do not know."""
        return self.role is Role.SERVICE

    def shown(self, *, by_browser: bool) -> str:
        """By what this person came, as the audit log has it."""
        if self.only is not None:
            return f"token {self.sign_in_id}"
        return f"{'browser' if by_browser else 'program'} sign-in {self.sign_in_id}"

    def may(self, right: Right) -> bool:
        """Whether this person has the right, by the role and by the token that was shown."""
        return right in MAY[self.role] and (self.only is None or right in self.only)

    def must(self, right: Right) -> None:
        """Raise Forbidden unless this person has the right."""
        if right not in MAY[self.role]:
            roles = ", ".join(role for role in Role if right in MAY[role])
            raise Forbidden(
                f"This needs the right {right!r}, which your role ({self.role}) does not have.",
                hint=f"These have it: {roles}. Ask an administrator of this service.",
            )
        if not self.may(right):
            raise Forbidden(
                f"This needs the right {right!r}, which this token does not have.", hint="Make a token that has it."
            )


def person_of(user: User, sign_in_id: int | None = None) -> Person:
    """The Person that a row of users describes, with all rights of the role."""
    return Person(user.id, user.name, user.full_name, user.uid, Role(user.role), frozenset(user.groups), sign_in_id)


def create_account(
    runtime: Runtime,
    name: str,
    full_name: str,
    password: str,
    *,
    role: Role = Role.USER,
    groups: tuple[str, ...] = (),
) -> Person:
    """Make the account, or give the one of that name these properties and this password."""
    if not USER_NAME.match(name):
        raise InvalidRequest(
            f"{name!r} cannot be an account's name.", hint="Use a-z, 0-9, _ and -, beginning with a letter."
        )
    with runtime.database.transaction() as db:
        user = db.scalar(select(User).where(User.name == name))
        if user is None:
            user = User(name=name)
            db.add(user)
        user.full_name, user.role, user.groups = full_name, role, sorted(groups)
        if not _matches(user.password_hash, password):
            user.password_hash = _hasher().hash(password)
        db.flush()
        events.record(db, "account:save", user.name, role=user.role, groups=user.groups)
        return person_of(user)


def sign_in(runtime: Runtime, name: str, password: str, came_from: CameFrom = NOWHERE) -> tuple[str, Person]:
    """Check the password and begin a sign-in: its secret token, and the person."""
    if not runtime.settings.identity.local_accounts:
        raise LocalAccountsOff("Nobody signs in with a password here.", hint="Use one of the buttons at /sign-in.")
    user = _proved(runtime, name, password, came_from.address)
    if user.role == Role.SERVICE:
        raise Forbidden(f"{user.name} is a program's account; it cannot sign in.", hint="Sign in as yourself.")
    return begin_sign_in(runtime, user, came_from)


def service_account(runtime: Runtime, name: str, password: str, address: str = "") -> Person:
    """The service account that proves itself with each request; Forbidden where it is a person's account."""
    user = _proved(runtime, name, password, address)
    if user.role != Role.SERVICE:
        raise Forbidden(f"{user.name} is no service account.", hint="Make one: beamdesk account add --role service.")
    _seals[user.id] = _seal(user, password)
    return person_of(user)


def known_service(runtime: Runtime, name: str, password: str) -> Person | None:
    """The service account, where this process saw this very password to be right before and it still is.

    So a program need not pay the slow check with each request, and those who guess at its name do not lock it out.
    """
    with runtime.database.reading() as db:
        user = db.scalar(select(User).where(User.name == name, User.role == Role.SERVICE))
    if user is None or not hmac.compare_digest(_seals.get(user.id, b""), _seal(user, password)):
        return None
    return person_of(user)


def _seal(user: User, password: str) -> bytes:
    """Tells nothing to who has not this process's key; another hash in the account makes it another."""
    return hashlib.blake2b(f"{user.password_hash}\0{password}".encode(), key=_SEAL_KEY).digest()


def _proved(runtime: Runtime, name: str, password: str, address: str) -> User:
    """The user of that name and password, or WrongPassword; TooManyAttempts after some failures."""
    with runtime.database.reading() as db:
        refuse_guessing(db, name, address)
        user = db.scalar(select(User).where(User.name == name))
    if not _matches(user.password_hash if user else _nobodys_hash(), password) or user is None:
        with runtime.database.transaction() as db:
            note_failure(db, name, address)
            events.record(db, "account:sign-in-failed", name[:64], actor=events.NOBODY)
        raise WrongPassword("Name and password do not match.", hint="Check both, and the Caps Lock key.")
    return user


def begin_sign_in(runtime: Runtime, user: User, came_from: CameFrom = NOWHERE) -> tuple[str, Person]:
    """Begin a sign-in for somebody whose identity is proved."""
    with runtime.database.transaction() as db:
        token, entry = new_sign_in(db, runtime, user, came_from)
        return token, person_of(user, entry.id)


def new_sign_in(db: Session, runtime: Runtime, user: User, came_from: CameFrom, **told: Any) -> tuple[str, SignIn]:
    """The row of a sign-in that begins, and its secret token; `told` is for the audit log."""
    token = secrets.token_urlsafe(32)
    entry = SignIn(
        user_id=user.id,
        token_hash=digest(token),
        expires_at=now() + timedelta(hours=runtime.settings.web.sign_in_hours),
        address=came_from.address[:64] or None,
        program=came_from.program[:200] or None,
    )
    db.add(entry)
    db.flush()
    events.record(db, "account:sign-in", user.name, actor=user.name, sign_in=entry.id, **told)
    return token, entry


def whose(runtime: Runtime, token: str) -> Person:
    """The person behind a sign-in's token, or NotSignedIn."""
    with runtime.database.reading() as db:
        row = db.execute(
            select(User, SignIn.id, SignIn.rights, SignIn.seen_at)
            .join(SignIn, SignIn.user_id == User.id)
            .where(SignIn.token_hash == digest(token), SignIn.revoked_at.is_(None), SignIn.expires_at > now())
            .where(or_(User.role != Role.SERVICE, SignIn.rights.is_not(None)))
        ).first()
    if row is None:
        raise NotSignedIn("You are not signed in, or your sign-in has ended.", hint="Sign in again.")
    user, sign_in_id, rights, seen_at = row
    if seen_at is None or seen_at < now() - SEEN_EVERY:
        _saw(runtime, sign_in_id)
    only = None if rights is None else frozenset(Right(right) for right in rights)
    return replace(person_of(user, sign_in_id), only=only)


def _saw(runtime: Runtime, sign_in_id: int) -> None:
    """Note that the sign-in is in use; of several requests that find it due, one writes."""
    due = or_(SignIn.seen_at.is_(None), SignIn.seen_at < now() - SEEN_EVERY)
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).where(SignIn.id == sign_in_id, due).values(seen_at=now()))


def sign_out(runtime: Runtime, person: Person) -> None:
    """End the sign-in; gateways close the desktops that were opened through it."""
    with runtime.database.transaction() as db:
        db.execute(
            update(SignIn)
            .where(SignIn.id == person.sign_in_id, SignIn.revoked_at.is_(None))
            .values(revoked_at=now(), sealed_tokens=None, refresh_at=None)
        )
        events.record(db, "account:sign-out", person.name, actor=person.name)


def account(runtime: Runtime, name: str) -> Person:
    """The person of that name, or NotFound."""
    with runtime.database.reading() as db:
        user = db.scalar(select(User).where(User.name == name))
    if user is None:
        raise NotFound(f"There is no account {name!r}.")
    return person_of(user)


def digest(token: str) -> str:
    """What is kept of a secret token: enough to know it again, not enough to use it."""
    return hashlib.sha256(token.encode()).hexdigest()


def _matches(password_hash: str | None, password: str) -> bool:
    try:
        return bool(password_hash) and _hasher().verify(password_hash or "", password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobodys_hash() -> str:
    """Checked where there is no such account, so that the answer takes as long as for a wrong password."""
    return _hasher().hash(secrets.token_urlsafe(16))
