"""What can be launched, where, and how much of it."""

from __future__ import annotations

from apiflask import APIBlueprint

from broker.identity.rights import Right
from broker.sessions import availability, overview, quotas
from broker.sessions.availability import EnvironmentCard
from web.api.schemas import many
from web.api.schemas.environments import EnvironmentOut, LimitsOut, LocationOut, QuotaOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("environments", __name__, tag="Environments")


@blueprint.get("/environments")
@blueprint.output(many(EnvironmentOut))
@needs(Right.READ)
def environments() -> list[EnvironmentCard]:
    """The environments that I may launch, with what a launch would find now"""
    with site().runtime.database.reading() as db:
        return availability.environments(db, site().settings, person())


@blueprint.get("/locations")
@blueprint.output(many(LocationOut))
@needs(Right.READ)
def locations() -> list[LocationOut]:
    """The places where machines are"""
    person()
    places = {cloud.location: cloud.title for cloud in site().settings.clouds.values()}
    return [LocationOut(name=name, title=title) for name, title in places.items()]


@blueprint.get("/limits")
@blueprint.output(LimitsOut)
@needs(Right.READ)
def limits() -> LimitsOut:
    """What I may hold, and how long sessions live"""
    settings = site().settings
    with site().runtime.database.reading() as db:
        running = [card.environment for card in overview.active(db, settings, person()) if card.active]
        found = quotas.shown(db, settings, person(), running)
    return LimitsOut(
        quotas=[QuotaOut.model_validate(quota) for quota in found],
        sessions_per_user=settings.limits.sessions_per_user,
        sessions=len(running),
        default_hours=settings.leases.default_hours,
        maximum_hours=settings.leases.maximum_hours,
        extend_hours=settings.leases.extend_hours,
        warn_minutes=list(settings.leases.warn_minutes),
    )
