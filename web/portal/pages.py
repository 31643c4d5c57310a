"""The user's pages, and the fragments that they fetch afresh when something changed."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from sqlalchemy import or_
from sqlalchemy.exc import SQLAlchemyError

from broker.courses import overview as courses
from broker.database import now
from broker.errors import BrokerError
from broker.identity.service import Person
from broker.sessions import availability, overview, service
from broker.sessions.models import SessionState, UserSession
from broker.sessions.overview import Card
from broker.sharing import offers, recordings, support
from broker.sharing import overview as sharing
from web import security
from web.guessing import check_password
from web.site import person, person_or_none, site
from web.visitors import came_from

blueprint = Blueprint("portal", __name__)
PAGE = 20  # lines of history at a time


def around_every_page() -> dict[str, Any]:
    """What every template may use; what asks the database is asked only by those that show it.

    A launch is looked at eight times a second. And the page that says that the database is away must not need it.
    """
    who = None
    with suppress(SQLAlchemyError):
        who = person_or_none()
    asks = {"soon": _soon, "has_courses": _has_courses, "asking": _asking, "handovers": _handovers}
    asked = {name: partial(ask, who) for name, ask in asks.items()} if who else {}
    return {"title": site().settings.title, "desktop_url": desktop_url, "person": who, **asked}


def desktop_url(session_id: int) -> str:
    """Where the session's desktop is shown."""
    return url_for("desktop.page", session_id=session_id)


def _soon(who: Person) -> dict[str, list[Card]]:
    """The person's desktops that end soon: by their lease, and because nobody uses them."""
    warn = timedelta(minutes=max(site().settings.leases.warn_minutes, default=0.0))
    expires, warned = UserSession.expires_at < now() + warn, UserSession.idle_warned_at.is_not(None)
    mine = (UserSession.user_id == who.user_id, UserSession.state == SessionState.READY)
    found: list[Card] = []
    with suppress(SQLAlchemyError), site().runtime.database.reading() as db:
        found = overview.cards(db, site().settings, *mine, or_(expires, warned))
    soon = now() + warn
    return {
        "ending": [card for card in found if card.expires_at and card.expires_at < soon],
        "idle": [card for card in found if card.use and card.use.warned and card.use.ends_at],
    }


def _asking(who: Person) -> list[Any]:
    with suppress(SQLAlchemyError), site().runtime.database.reading() as db:
        return support.open_questions(db, who)
    return []


def _handovers(who: Person) -> list[offers.Offer]:
    with suppress(SQLAlchemyError), site().runtime.database.reading() as db:
        return offers.open_now(db, site().settings, who)
    return []


def _has_courses(who: Person) -> bool:
    with suppress(SQLAlchemyError), site().runtime.database.reading() as db:
        return courses.teaches(db, site().settings, who) or bool(courses.mine(db, site().settings, who))
    return False


@blueprint.get("/fragments/notices")
def notices() -> str:
    """What will happen soon."""
    person()
    return render_template("fragments/notices.html")


@blueprint.get("/")
def home() -> str:
    """My desktops, and what I can launch."""
    return render_template("home.html", **_sessions(), **_environments())


@blueprint.get("/fragments/sessions")
def sessions() -> str:
    """My desktops."""
    return render_template("fragments/sessions.html", **_sessions())


@blueprint.get("/fragments/environments")
def environments() -> str:
    """What I can launch."""
    return render_template("fragments/environments.html", **_environments())


@blueprint.get("/fragments/launch/<id:session_id>")
def launch(session_id: int) -> str:
    """How far a launch is."""
    with site().runtime.database.reading() as db:
        card = overview.one(db, site().settings, service.mine(db, person(), session_id))
    return render_template("fragments/launch.html", session=card)


@blueprint.get("/history")
def history() -> str:
    """Sessions that are over."""
    before = request.args.get("before", type=int)
    template = "fragments/history.html" if request.headers.get("HX-Request") else "history.html"
    with site().runtime.database.reading() as db:
        ended = overview.ended(db, site().settings, person(), limit=PAGE + 1, before=before)
        ids = [card.id for card in ended]
        visits, recorded = sharing.visits(db, ids), recordings.of_sessions(db, site().settings, ids)
        handed_over = offers.given(db, site().settings, person()) if before is None else []
    shown = {"ended": ended[:PAGE], "visits": visits, "recorded": recorded, "handed_over": handed_over}
    return render_template(template, **shown, more=len(ended) > PAGE, first=before is None)


@blueprint.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Response:
    """Sign in, then go on to where one wanted to go."""
    wanted = security.safe_next(request.args.get("next"))
    if request.method == "GET":
        return make_response(redirect(wanted) if person_or_none() else sign_in_page(wanted))
    try:
        name, password = request.form.get("name", "")[:64].strip(), request.form.get("password", "")[:1024]
        token, _ = check_password(site().runtime, name, password, came_from())
    except BrokerError as error:
        return make_response(sign_in_page(wanted, error), error.status)
    response = make_response(redirect(wanted, 303))
    security.set_cookie(response, token)
    return response


def sign_in_page(wanted: str, error: BrokerError | None = None) -> str:
    """The ways to sign in, and what went wrong with the last one."""
    identity, go_on = site().settings.identity, wanted if wanted != "/" else None
    return render_template(
        "sign-in.html",
        error=error,
        name=request.form.get("name", ""),
        action=url_for("portal.sign_in", next=go_on),
        local_accounts=identity.local_accounts,
        providers=[(p.title, url_for("openid.begin", name=n, next=go_on)) for n, p in identity.providers.items()],
    )


def _sessions() -> dict[str, Any]:
    who, settings = person(), site().settings
    with site().runtime.database.reading() as db:
        active = overview.active(db, settings, who)
        return {
            "sessions": active,
            "just_over": overview.just_over(db, settings, who),
            "my_seats": courses.mine(db, settings, who),
            "here": sharing.here(db, [card.id for card in active]),
            "shared": sharing.shared_with(db, settings, who),
        }


def _environments() -> dict[str, Any]:
    with site().runtime.database.reading() as db:
        cards = availability.environments(db, site().settings, person())
    return {"environments": cards}


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    """For browsers that ask without reading the page."""
    return make_response(redirect(url_for("static", filename="beamdesk.svg")))
