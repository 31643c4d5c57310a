"""The environments that a person may launch, and what a launch would find now."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.identity.service import Person
from broker.pools import allocation, stock
from broker.pools.allocation import USUAL, Refusal, Weights, Wish
from broker.sessions import leases, waiting
from broker.sessions.models import ACTIVE, UserSession
from broker.sessions.waiting import Queues
from broker.settings import EnvironmentSettings, PoolSettings, Settings


@dataclass(frozen=True)
class Availability:
    """What a launch would find now. `ahead` users wait already; `wait_seconds` is None where nobody can know."""

    vacant: int
    coming: int
    ahead: int
    wait_seconds: float | None
    text: str
    ready: bool
    possible: bool


@dataclass(frozen=True)
class SizeOffer:
    """One size in one place that can be asked for."""

    cores: int
    memory_gb: float
    gpus: int
    gpu_model: str
    architecture: str
    location: str
    place: str
    vacant: int
    properties: dict[str, str]


@dataclass(frozen=True)
class EnvironmentCard:
    """One environment. `session` is the person's own one that is not over, if any."""

    name: str
    title: str
    description: str
    icon: str
    properties: dict[str, str]
    lease_hours: float
    availability: Availability
    sizes: list[SizeOffer]
    session: int | None


def environments(db: Session, settings: Settings, person: Person) -> list[EnvironmentCard]:
    """All environments that the person may launch, in the settings' order."""
    queues = waiting.look(db, settings)
    groups = tuple(sorted(person.groups))
    running = _running(db, person)
    return [
        _card(settings, environment, queues, running.get(environment.name), groups)
        for environment in settings.environments.values()
        if person.is_admin or environment.open_to(person.groups)
    ]


def _running(db: Session, person: Person) -> dict[str, int]:
    rows = db.execute(
        select(UserSession.environment, UserSession.id)
        .where(UserSession.user_id == person.user_id, UserSession.state.in_(ACTIVE))
        .order_by(UserSession.id)
    )
    return dict(rows.all())


def _card(
    settings: Settings,
    environment: EnvironmentSettings,
    queues: Queues,
    session: int | None,
    groups: tuple[str, ...],
) -> EnvironmentCard:
    mine = [pool for pool in settings.pools.values() if pool.environment == environment.name]
    pools = [pool for pool in mine if not pool.groups or not set(pool.groups).isdisjoint(groups)]
    return EnvironmentCard(
        name=environment.name,
        title=environment.title,
        description=environment.description,
        icon=environment.icon,
        properties=dict(environment.properties),
        lease_hours=leases.lease_of(settings, environment.name).total_seconds() / 3600,
        availability=availability(queues, environment.name, groups, stock.weights(settings)),
        sizes=[_size(settings, pool, queues) for pool in pools],
        session=session,
    )


def _size(settings: Settings, pool: PoolSettings, queues: Queues) -> SizeOffer:
    size, cloud = settings.sizes[pool.size], settings.clouds[pool.cloud]
    return SizeOffer(
        cores=size.cores,
        memory_gb=size.memory_gb,
        gpus=size.gpus,
        gpu_model=size.gpu_model,
        architecture=size.architecture,
        location=cloud.location,
        place=cloud.title,
        vacant=queues.free(pool.name),
        properties=settings.properties_of(pool.cloud, pool.size, pool.environment, pool.name),
    )


def availability(
    queues: Queues, environment: str, groups: tuple[str, ...] = (), weights: Weights = USUAL
) -> Availability:
    """What a launch without particular wishes would find: the pool that it would be given, or wait for."""
    wish = Wish(environment, groups=groups)
    seat = queues.seats.of(environment, groups)
    free = [offer for offer in queues.as_free(environment, seat=seat) if allocation.unmet(offer, wish) is None]
    choice = allocation.choose(wish, free, weights)
    if isinstance(choice, Refusal):
        return Availability(0, 0, 0, None, "Not available now", ready=False, possible=False)
    vacant = sum(offer.vacant for offer in free)
    coming = sum(offer.coming for offer in free)
    ahead = 0 if choice.vacant else len(queues.waiting.get(choice.pool, ()))
    seconds = 0.0 if choice.vacant else queues.wait_seconds(choice.pool, ahead + 1)
    kept = next((offer.kept for offer in free if offer.pool == choice.pool and not offer.room), "")
    text = _text(vacant, coming, ahead, seconds, kept)
    return Availability(vacant, coming, ahead, seconds, text, ready=choice.vacant, possible=True)


def _text(vacant: int, coming: int, ahead: int, seconds: float | None, kept: str) -> str:
    if vacant:
        return "Ready now"
    if kept and not coming:
        return kept.removeprefix("is ").replace("kept", "Kept", 1)
    if ahead:
        return f"Queue: {ahead} before you" + (f", {about(seconds)}" if seconds is not None else "")
    if seconds is not None:
        return about(seconds).capitalize()
    return "Being made ready" if coming else "Made on request"


def about(seconds: float) -> str:
    """A duration in round words: "about 40 s", "about 2 min", "about 3 h"."""
    if seconds < 55:
        return f"about {max(5, round(seconds / 5) * 5)} s"
    if seconds < 55 * 60:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {max(1, round(seconds / 3600))} h"
