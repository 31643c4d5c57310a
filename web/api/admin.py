"""Administrators: the whole deployment at a glance."""

from __future__ import annotations

from apiflask import APIBlueprint

from broker.identity.rights import Right
from broker.pools import overview as pools
from broker.pools.overview import Workforce
from broker.sessions import overview as sessions
from broker.sessions import timings
from broker.sessions.models import LIVE, UserSession
from broker.sessions.overview import Card, Summary
from broker.sessions.timings import LaunchTimes
from web.api.schemas import many
from web.api.schemas.operations import LaunchTimesOut, OverviewOut, WorkforceOut
from web.api.schemas.sessions import SessionOut
from web.rights import needs
from web.site import site

blueprint = APIBlueprint("admin", __name__, tag="Administration")


@blueprint.get("/overview")
@blueprint.output(OverviewOut)
@needs(Right.LOOK)
def overview() -> Summary:
    """The deployment in a few numbers"""
    with site().runtime.database.reading() as db:
        return sessions.summary(db, site().settings)


@blueprint.get("/sessions")
@blueprint.output(many(SessionOut))
@needs(Right.LOOK)
def all_sessions() -> list[Card]:
    """All users' sessions that are not over"""
    with site().runtime.database.reading() as db:
        return sessions.cards(db, site().settings, UserSession.state.in_(LIVE), limit=500)


@blueprint.get("/queue")
@blueprint.output(many(SessionOut))
@needs(Right.LOOK)
def queue() -> list[Card]:
    """The sessions that wait, the next one first, with estimates"""
    with site().runtime.database.reading() as db:
        return sessions.queued(db, site().settings)


@blueprint.get("/workers")
@blueprint.output(WorkforceOut)
@needs(Right.LOOK)
def workers() -> Workforce:
    """Workers and the queues of jobs"""
    return pools.workforce(site().runtime.redis)


@blueprint.get("/launch-times")
@blueprint.output(many(LaunchTimesOut))
@needs(Right.LOOK)
def launch_times() -> list[LaunchTimes]:
    """Time to desktop of each environment's recent launches"""
    with site().runtime.database.reading() as db:
        return timings.launch_times(db, site().settings)
