"""What people, environments and groups hold against their quotas, and which group a session counts for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import database
from broker.errors import OverQuota
from broker.identity.service import Person
from broker.pools import stock
from broker.pools.allocation import Offer
from broker.pools.fairness import by_share
from broker.sessions.models import ACTIVE, UserSession
from broker.sessions.rules import Quota, must_have_room, over
from broker.settings import EnvironmentSettings, QuotaSettings, Settings


@dataclass(frozen=True)
class Held:
    """What one group's active sessions use; `by` counts them by environment."""

    sessions: int
    cores: int
    gpus: int
    by: dict[str, int]


def must_allow(db: Session, settings: Settings, environment: EnvironmentSettings, mine: Sequence[str] | None) -> None:
    """Raise OverQuota where a person with active sessions of the environments `mine` may not have one more of this one.

    A program, for which `mine` is None, is held by no quota on persons.
    The environment's lock is held from here on, where it has a quota: two at once cannot pass it.
    """
    if environment.sessions is not None:
        database.hold(db, f"environment {environment.name}")
    own = [] if mine is None else of_person(mine, settings, environment)
    must_have_room([*own, *of_environment(db, environment)])


def of_person(mine: Sequence[str], settings: Settings, environment: EnvironmentSettings) -> list[Quota]:
    """The quotas on somebody whose active sessions are of the environments `mine`."""
    by = Counter(mine)
    own = Quota("limits.sessions_per_user", settings.limits.sessions_per_user, len(mine), by=by)
    if environment.sessions_per_user is None:
        return [own]
    name = f"environments.{environment.name}.sessions_per_user"
    unit = f"sessions of {environment.title}"
    return [own, Quota(name, environment.sessions_per_user, by[environment.name], unit=unit)]


def of_environment(db: Session, environment: EnvironmentSettings) -> list[Quota]:
    """The quota on an environment as a whole, if it has one."""
    if environment.sessions is None:
        return []
    active = (UserSession.environment == environment.name, UserSession.state.in_(ACTIVE))
    used = db.scalar(select(func.count()).where(*active)) or 0
    return [Quota(f"environments.{environment.name}.sessions", environment.sessions, used, whose=environment.title)]


def of_group(group: str, quota: QuotaSettings, held: Held, offer: Offer) -> list[Quota]:
    """The quotas on a group as a whole, for one session more, on a machine of this offer."""
    kinds = (
        ("sessions", quota.sessions, held.sessions, 1, "sessions"),
        ("cores", quota.cores, held.cores, offer.cores, "cores"),
        ("gpus", quota.gpus, held.gpus, offer.gpus, "GPUs"),
    )
    return [
        Quota(f"quotas.{group}.{kind}", limit, used, needed, unit, f"The group {group}", held.by)
        for kind, limit, used, needed, unit in kinds
        if limit is not None
    ]


def groups_of(settings: Settings, person: Person, environment: EnvironmentSettings) -> list[str]:
    """The groups that a session may count for, the one with the greatest share first; [""] for nobody's."""
    admitting = person.groups & frozenset(environment.groups) or person.groups
    return by_share(admitting, stock.shares(settings)) or [""]


def hold(db: Session, settings: Settings, group: str) -> None:
    """Hold the group's lock until the transaction ends, where it has a quota. Taken before any session's row."""
    if group in settings.quotas:
        database.hold(db, f"group {group}")


def affordable(
    db: Session, settings: Settings, group: str, offers: Iterable[Offer], *, besides: int | None = None
) -> list[Offer]:
    """The offers that leave the group within its quota. Its lock is held from here on, where it has a quota.

    The session `besides` is not counted: it is the one that is asked for.
    """
    quota = settings.quotas.get(group)
    if quota is None:
        return list(offers)
    hold(db, settings, group)
    held = held_by(db, settings, group, besides=besides)
    return [offer for offer in offers if not any(q.exceeded for q in of_group(group, quota, held, offer))]


def held_by(db: Session, settings: Settings, group: str, *, besides: int | None = None) -> Held:
    """What the group's active sessions use; one that waits uses the machine that it waits for."""
    rows = db.execute(
        select(UserSession.environment, UserSession.pool, func.count())
        .where(UserSession.group == group, UserSession.state.in_(ACTIVE), UserSession.id != (besides or 0))
        .group_by(UserSession.environment, UserSession.pool)
    ).all()
    by, cores, gpus = Counter[str](), 0, 0
    for environment, pool, number in rows:
        by[environment] += number
        size = settings.sizes[settings.pools[pool].size] if pool in settings.pools else None
        cores += number * size.cores if size else 0
        gpus += number * size.gpus if size else 0
    return Held(by.total(), cores, gpus, dict(by))


def refusal(db: Session, settings: Settings, group: str, offer: Offer, *, besides: int | None = None) -> OverQuota:
    """Why the group, which has a quota, cannot have one session more on this offer."""
    held = held_by(db, settings, group, besides=besides)
    found = of_group(group, settings.quotas[group], held, offer)
    return over(next(quota for quota in found if quota.exceeded))


def shown(db: Session, settings: Settings, person: Person, mine: Sequence[str]) -> list[Quota]:
    """Every quota on this person, the environments open to them and their groups, for one to look at."""
    found = [Quota("limits.sessions_per_user", settings.limits.sessions_per_user, len(mine), by=Counter(mine))]
    for environment in settings.environments.values():
        if person.is_admin or environment.open_to(person.groups):
            found += of_person(mine, settings, environment)[1:] + of_environment(db, environment)
    for group in sorted(person.groups & settings.quotas.keys()):
        found += of_group(group, settings.quotas[group], held_by(db, settings, group), _NOTHING)
    return found


_NOTHING = Offer("", "", "", "", 0, 0, 0, vacant=0, coming=0, room=0, limit=0, serving=False)
