"""Sessions: launch, look, extend, end."""

from __future__ import annotations

from apiflask import APIBlueprint

from broker.identity.rights import Right
from broker.pools.allocation import Wish
from broker.sessions import idle, leases, overview, service, wishes
from broker.sessions.models import SessionState, UserSession
from broker.sessions.overview import Card
from web.api.schemas import many
from web.api.schemas.sessions import ExtendBody, KeepBody, LaunchBody, SessionOut, SessionsQuery, WishBody
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("sessions", __name__, tag="Sessions")
ONE = "/sessions/<id:session_id>"


@blueprint.get("/sessions")
@blueprint.input(SessionsQuery, location="query", arg_name="query")
@blueprint.output(many(SessionOut))
@needs(Right.READ)
def sessions(query: SessionsQuery) -> list[Card]:
    """My sessions, the newest first

    Those that are not over, or with `state=ended` a page of those that are; `before` is the last id of the page before.
    """
    with site().runtime.database.reading() as db:
        if query.state == "active":
            return overview.active(db, site().settings, person())
        return overview.ended(db, site().settings, person(), limit=query.limit, before=query.before)


@blueprint.post("/sessions")
@blueprint.input(LaunchBody, arg_name="body")
@blueprint.output(SessionOut, 201)
@blueprint.doc(responses=[409, 422, 429])
@needs(Right.LAUNCH)
def launch(body: LaunchBody) -> Card:
    """Launch a session

    It gets a machine at once, or waits in order for one. Watch it until its state is `ready`.
    """
    wish = Wish(**body.model_dump(exclude={"another"}))
    return _begun(service.request(site().runtime, person(), wish, another=body.another))


def _begun(session: UserSession) -> Card:
    if session.state == SessionState.PREPARING:
        site().launcher.start(session.id)
    return card(session)


@blueprint.get(ONE)
@blueprint.output(SessionOut)
@needs(Right.READ)
def session(session_id: int) -> Card:
    """One session"""
    with site().runtime.database.reading() as db:
        return overview.one(db, site().settings, service.mine(db, person(), session_id))


@blueprint.delete(ONE)
@blueprint.output(SessionOut)
@needs(Right.LAUNCH)
def end(session_id: int) -> Card:
    """End a session

    Its desktop closes and its machine is removed; files in the home stay. Ending what has ended changes nothing.
    """
    return card(service.end(site().runtime, person(), session_id))


@blueprint.post(f"{ONE}/extend")
@blueprint.input(ExtendBody, arg_name="body")
@blueprint.output(SessionOut)
@blueprint.doc(responses=[409, 422])
@needs(Right.LAUNCH)
def extend(session_id: int, body: ExtendBody) -> Card:
    """Let a session live longer, within the longest lease"""
    return card(leases.extend(site().runtime, person(), session_id, body.hours))


@blueprint.post(f"{ONE}/wish")
@blueprint.input(WishBody, arg_name="body")
@blueprint.output(SessionOut)
@blueprint.doc(responses=[409, 422, 429])
@needs(Right.LAUNCH)
def wish(session_id: int, body: WishBody) -> Card:
    """Let a session that waits wish for something else

    As one of its `alternatives`, for instance. The time that it has waited still counts. Twice is once.
    """
    return _begun(wishes.change(site().runtime, person(), session_id, body.model_dump()))


@blueprint.post(f"{ONE}/stay")
@blueprint.output(SessionOut)
@blueprint.doc(responses=[409])
@needs(Right.LAUNCH)
def stay(session_id: int) -> Card:
    """Say that I am still here

    The idle time begins anew, and a warning of its end is withdrawn.
    """
    return card(idle.stay(site().runtime, person(), session_id))


@blueprint.post(f"{ONE}/keep")
@blueprint.input(KeepBody, arg_name="body")
@blueprint.output(SessionOut)
@blueprint.doc(responses=[409, 422])
@needs(Right.LAUNCH)
def keep(session_id: int, body: KeepBody) -> Card:
    """Keep a session until my work ends

    While programs of mine work it is never idle; ten minutes after the last load it is an ordinary session again. It
    never outlives its lease.
    """
    return card(idle.keep(site().runtime, person(), session_id, until_work_ends=body.until == "work-ends"))


def card(session: UserSession) -> Card:
    """The session as it stands now."""
    with site().runtime.database.reading() as db:
        return overview.one(db, site().settings, session)
