"""Administrators: pools."""

from __future__ import annotations

from apiflask import APIBlueprint

from broker.identity.rights import Right
from broker.pools import overview, service
from broker.pools.overview import History, PoolCard
from broker.sessions import seats
from broker.sessions.waiting import queued_by_pool
from web.api.schemas import many
from web.api.schemas.pools import HistoryOut, HistoryQuery, PoolOut, ResizeBody
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("pools", __name__, tag="Administration")


@blueprint.get("/pools")
@blueprint.output(many(PoolOut))
@needs(Right.LOOK)
def pools() -> list[PoolCard]:
    """All pools against their targets and limits"""
    return _cards()


@blueprint.get("/pools/<name>/history")
@blueprint.input(HistoryQuery, location="query", arg_name="query")
@blueprint.output(HistoryOut)
@needs(Right.LOOK)
def history(name: str, query: HistoryQuery) -> History:
    """A pool's last hours"""
    with site().runtime.database.reading() as db:
        return overview.history(db, site().settings, name, query.hours)


@blueprint.post("/pools/<name>/resize")
@blueprint.input(ResizeBody, arg_name="body")
@blueprint.output(PoolOut)
@blueprint.doc(responses=[422])
@needs(Right.OPERATE)
def resize(name: str, body: ResizeBody) -> PoolCard:
    """Give a pool another target and limit"""
    service.resize(site().runtime, person(), name, body.target, body.limit)
    return _card(name)


@blueprint.post("/pools/<name>/drain")
@blueprint.output(PoolOut)
@needs(Right.OPERATE)
def drain(name: str) -> PoolCard:
    """Drain a pool

    It gives out no machine any more and lets its vacant ones go; running sessions go on.
    """
    service.drain(site().runtime, person(), name)
    return _card(name)


@blueprint.post("/pools/<name>/resume")
@blueprint.output(PoolOut)
@needs(Right.OPERATE)
def resume(name: str) -> PoolCard:
    """Let a pool serve again, and build at once where it waited after a failure"""
    service.resume(site().runtime, person(), name)
    return _card(name)


def _cards() -> list[PoolCard]:
    with site().runtime.database.reading() as db:
        return overview.pools(db, site().settings, queued_by_pool(db), seats.look(db, site().settings).kept)


def _card(name: str) -> PoolCard:
    return next(card for card in _cards() if card.name == name)
