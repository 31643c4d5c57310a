"""The dashboard, and the panels that it fetches afresh when something changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from flask import render_template
from sqlalchemy.orm import Session

from broker.errors import NotFound
from broker.identity.rights import Right
from broker.pools import overview as pools
from broker.sessions import booked, seats, timings
from broker.sessions import overview as sessions
from broker.sessions.models import LIVE, UserSession
from broker.sessions.waiting import queued_by_pool
from broker.sharing import support
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("dashboard", __name__, enable_openapi=False, url_prefix="/admin")


@blueprint.get("/")
@needs(Right.LOOK)
def home() -> str:
    """Everything at a glance."""
    shown = [name for name in PANELS if person().may(RIGHTS.get(name, Right.LOOK))]
    return render_template("admin/dashboard.html", panels=shown, **_shown(*shown))


@blueprint.get("/panels/<name>")
@needs(Right.LOOK)
def panel(name: str) -> str:
    """One panel."""
    if name not in PANELS:
        raise NotFound("There is no such panel.", hint="Go to the dashboard.")
    person().must(RIGHTS.get(name, Right.LOOK))
    return render_template(f"admin/{name}.html", **_shown(name))


def _shown(*panels: str) -> dict[str, Any]:
    """What these panels show. Redis may take seconds to be away: it is asked when no transaction is open."""
    values: dict[str, Any] = {}
    with site().runtime.database.reading() as db:
        for name in panels:
            values |= PANELS[name](db)
    return values | ({"workforce": pools.workforce(site().runtime.redis)} if "work" in panels else {})


def _summary(db: Session) -> dict[str, Any]:
    return {"summary": sessions.summary(db, site().settings), "settings_problem": site().runtime.settings_problem}


def _pools(db: Session) -> dict[str, Any]:
    return {"pools": pools.pools(db, site().settings, queued_by_pool(db), seats.look(db, site().settings).kept)}


def _sessions(db: Session) -> dict[str, Any]:
    asked, inside = support.joining(db, person())
    cards = sessions.cards(db, site().settings, UserSession.state.in_(LIVE), limit=500)
    return {"sessions": cards, "asked": asked, "inside": inside}


def _queue(db: Session) -> dict[str, Any]:
    return {"queue": sessions.queued(db, site().settings)}


def _machines(db: Session) -> dict[str, Any]:
    return {"machines": pools.machines(db, site().settings)}


def _times(db: Session) -> dict[str, Any]:
    return {"times": timings.launch_times(db, site().settings)}


def _clouds(db: Session) -> dict[str, Any]:
    return {"clouds": pools.clouds(db, site().settings)}


def _reservations(db: Session) -> dict[str, Any]:
    reservable = {name: environment.title for name, environment in site().settings.environments.items()}
    return {"reservations": booked.cards(db, site().settings), "reservable": reservable}


def _events(db: Session) -> dict[str, Any]:
    return {"events": pools.recent_events(db, limit=40)}


PANELS: dict[str, Callable[[Session], dict[str, Any]]] = {
    "summary": _summary,
    "pools": _pools,
    "clouds": _clouds,
    "reservations": _reservations,
    "queue": _queue,
    "sessions": _sessions,
    "machines": _machines,
    "times": _times,
    "work": lambda db: {},
    "events": _events,
}
RIGHTS = {"events": Right.AUDIT}  # of panels that not all may see who see the others
