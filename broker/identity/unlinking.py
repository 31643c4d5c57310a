"""An identity leaves its account: what the provider gave goes with it, and the sign-ins that were made with it end."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from broker import events
from broker.errors import LastWayIn, NotFound
from broker.identity import sign_ins
from broker.identity.arrivals import update_groups
from broker.identity.claims import Profile
from broker.identity.models import Identity, SignIn, User
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.settings import Settings


def unlink(runtime: Runtime, person: Person, provider: str) -> list[int]:
    """Remove what this provider knows the person as; the sign-ins that ended by that, perhaps the one that asks.

    NotFound where there is none, LastWayIn where nobody could sign in to the account any more. Programs' tokens stay.
    """
    with runtime.database.transaction() as db:
        user = db.get_one(User, person.user_id, with_for_update=True)  # of two at once, one must be left
        known = sign_ins.identities(db, person)
        leaving = [one for one in known if one.provider == provider]
        if not leaving:
            raise NotFound(f"You have no identity at {provider[:40]!r}.", hint="Look at your account's page.")
        if not _can_come_in(runtime.settings, user, [one for one in known if one.provider != provider]):
            raise LastWayIn("You could not sign in any more without this identity.", hint="Add another one first.")
        ended = _end_sign_ins(db, leaving, person)
        for one in leaving:
            update_groups(db, one, user, _nothing(user))
            db.delete(one)
            told = {"provider": provider, "issuer": one.issuer, "known_as": one.subject}
            events.record(db, "account:unlink", user.name, actor=person.name, owner=user.id, **told)
        return ended


def _can_come_in(settings: Settings, user: User, left: Sequence[Identity]) -> bool:
    """Whether there is a way to sign in with what is left, as the settings are now."""
    by_password = settings.identity.local_accounts and bool(user.password_hash)
    return by_password or any(one.provider in settings.identity.providers for one in left)


def _end_sign_ins(db: Session, leaving: Sequence[Identity], person: Person) -> list[int]:
    ids = [one.id for one in leaving]
    living = list(db.scalars(select(SignIn.id).where(SignIn.identity_id.in_(ids), *sign_ins.living())))
    sign_ins.end(db, living, "account:revoke", person.name, actor=person.name)
    db.execute(update(SignIn).where(SignIn.identity_id.in_(ids)).values(identity_id=None, sid=None, refresh_at=None))
    return living


def _nothing(user: User) -> Profile:
    """What a provider says that gives nothing."""
    return Profile(user.name, user.full_name, frozenset(), is_admin=False, identifier=None, may_enter=True)
