"""Who somebody is here whom a provider has vouched for: the account of that identity, linked or made.

An identity is issuer and subject. One that is not known is linked to an account only by a verified identifier that
both providers are trusted with, or by the account's owner; never by a name or an email that nobody verified. Otherwise
it gets an account of its own, under a name that no account has yet.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import events
from broker.database import hold, now
from broker.errors import IdentityTaken, SignInRefused
from broker.identity import sealing
from broker.identity.claims import Profile, numbered, profile
from broker.identity.models import Identity, SignIn, User
from broker.identity.openid import Told
from broker.identity.rights import Role
from broker.identity.service import NOWHERE, CameFrom, Person, new_sign_in, person_of
from broker.runtime import Runtime
from broker.settings import ProviderSettings, Settings

TOKENS = "tokens"


def arrive(runtime: Runtime, told: Told, came_from: CameFrom = NOWHERE) -> tuple[str, Person]:
    """Begin a sign-in for the account of this identity, which is made where there is none."""
    settings = runtime.settings.identity.providers[told.provider]
    seen = profile(told.claims, settings)
    _must_be_let_in(settings, seen)
    with runtime.database.transaction() as db:
        identity = _identity(db, told) or _newcomer(db, runtime.settings, told, seen)
        user = db.get_one(User, identity.user_id)
        update_groups(db, identity, user, seen)
        return _begin(db, runtime, identity, user, told, came_from)


def link(runtime: Runtime, person: Person, told: Told) -> None:
    """Add this identity to the person's account; IdentityTaken where it is another's. Twice is once."""
    settings = runtime.settings.identity.providers[told.provider]
    seen = profile(told.claims, settings)
    _must_be_let_in(settings, seen)
    with runtime.database.transaction() as db:
        identity = _identity(db, told)
        if identity is not None and identity.user_id != person.user_id:
            raise IdentityTaken(
                f"This identity at {settings.title} belongs to another account here already.",
                hint="Sign out, then sign in with it.",
            )
        user = db.get_one(User, person.user_id)
        update_groups(db, identity or _linked(db, user, told, seen), user, seen)


def _must_be_let_in(settings: ProviderSettings, seen: Profile) -> None:
    if not seen.may_enter:
        raise SignInRefused(
            f"{settings.title} knows you, but you are in none of the groups that may use this service.",
            hint=f"Ask to become a member of one: {', '.join(settings.only_groups)}.",
        )


def _identity(db: Session, told: Told) -> Identity | None:
    return db.scalar(select(Identity).where(Identity.issuer == told.issuer, Identity.subject == told.subject))


def _newcomer(db: Session, settings: Settings, told: Told, seen: Profile) -> Identity:
    """The identity of somebody who was never here: of the account with the same verified identifier, or a new one."""
    hold(db, "newcomers")  # of two at once, each must see what the other made
    known = _identity(db, told)
    if known is not None:
        return known
    user = _by_identifier(db, settings, seen.identifier)
    if user is None:
        user = User(name=_free_name(db, seen.wanted_name), full_name=seen.full_name, password_hash="")
        db.add(user)
        db.flush()
        events.record(db, "account:save", user.name, provider=told.provider)
    return _linked(db, user, told, seen)


def _linked(db: Session, user: User, told: Told, seen: Profile) -> Identity:
    made = Identity(user_id=user.id, provider=told.provider, issuer=told.issuer, subject=told.subject)
    made.groups, made.admin, made.identifier = [], False, seen.identifier
    db.add(made)
    db.flush()
    events.record(db, "account:link", user.name, actor=user.name, provider=told.provider)
    return made


def _by_identifier(db: Session, settings: Settings, identifier: str | None) -> User | None:
    """The one person's account that another trusted provider gave this identifier to; none where there are two."""
    if identifier is None:
        return None
    claim = identifier.partition(":")[0]
    trusted = [p.issuer for p in settings.identity.providers.values() if p.linked_by == claim]
    found = db.scalars(
        select(User)
        .join(Identity, Identity.user_id == User.id)
        .where(Identity.identifier == identifier, Identity.issuer.in_(trusted), User.role != Role.SERVICE)
        .distinct()
    ).all()
    return found[0] if len(found) == 1 else None


def _free_name(db: Session, wanted: str) -> str:
    taken = set(db.scalars(select(User.name).where(User.name.startswith(wanted[:24], autoescape=True))))
    number = 1
    while numbered(wanted, number) in taken:
        number += 1
    return numbered(wanted, number)


def update_groups(db: Session, identity: Identity, user: User, seen: Profile) -> None:
    """Give the user what the provider says now, and take back what it said before and no other identity says."""
    others = db.scalars(select(Identity).where(Identity.user_id == user.id, Identity.id != identity.id)).all()
    elsewhere = {group for other in others for group in other.groups}
    groups = sorted((set(user.groups) - (set(identity.groups) - elsewhere)) | seen.groups)
    role = Role(user.role)
    if seen.is_admin:
        role = Role.ADMIN
    elif identity.admin and role is Role.ADMIN and not any(other.admin for other in others):
        role = Role.USER
    if (groups, role) != (sorted(user.groups), Role(user.role)):
        events.record(db, "account:groups", user.name, groups=groups, role=role.value, provider=identity.provider)
        user.groups, user.role = groups, role
    identity.groups, identity.admin, identity.told_at = sorted(seen.groups), seen.is_admin, now()
    identity.identifier = seen.identifier


def _begin(
    db: Session, runtime: Runtime, identity: Identity, user: User, told: Told, came_from: CameFrom
) -> tuple[str, Person]:
    settings = runtime.settings.identity.providers[told.provider]
    token, entry = new_sign_in(db, runtime, user, came_from, provider=told.provider)
    entry.identity_id, entry.sid = identity.id, told.sid
    keep_tokens(runtime, settings, entry, told)
    db.flush()
    return token, person_of(user, entry.id)


def keep_tokens(runtime: Runtime, settings: ProviderSettings, entry: SignIn, told: Told) -> None:
    """Keep what the next refresh, and signing out at the provider, need."""
    tokens = {"refresh": told.refresh_token, "id": told.id_token}
    entry.sealed_tokens = sealing.seal(runtime.settings.secrets_dir, TOKENS, tokens)
    entry.refresh_at = now() + timedelta(minutes=settings.refresh_minutes) if told.refresh_token else None
