"""Administrators: clouds."""

from __future__ import annotations

from apiflask import APIBlueprint

from broker.identity.rights import Right
from broker.pools import overview, service
from broker.pools.overview import CloudCard
from web.api.schemas import many
from web.api.schemas.clouds import CloudOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("clouds", __name__, tag="Administration")


@blueprint.get("/clouds")
@blueprint.output(many(CloudOut))
@needs(Right.LOOK)
def clouds() -> list[CloudCard]:
    """The clouds and how they stand, as far as the database knows"""
    return _cards()


@blueprint.post("/clouds/<name>/drain")
@blueprint.output(CloudOut)
@needs(Right.OPERATE)
def drain(name: str) -> CloudCard:
    """Drain a cloud

    All its pools give out no machine any more and let their vacant ones go; running sessions go on, and other clouds
    keep as many machines vacant in its place as they may.
    """
    service.drain_cloud(site().runtime, person(), name)
    return _card(name)


@blueprint.post("/clouds/<name>/resume")
@blueprint.output(CloudOut)
@needs(Right.OPERATE)
def resume(name: str) -> CloudCard:
    """Let a cloud serve again, and ask it at once where it was left alone after a fault"""
    service.resume_cloud(site().runtime, person(), name)
    return _card(name)


def _cards() -> list[CloudCard]:
    with site().runtime.database.reading() as db:
        return overview.clouds(db, site().settings)


def _card(name: str) -> CloudCard:
    return next(card for card in _cards() if card.name == name)
