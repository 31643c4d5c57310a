"""Sharing: the owner's panel, the link's page, and the desktop that a guest opens."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, redirect, render_template, url_for

from broker.database import now
from broker.identity.models import User
from broker.identity.rights import Right
from broker.sharing import overview, recordings, service
from web.site import person, person_or_none, site

blueprint = Blueprint("sharing_pages", __name__)


@blueprint.get("/fragments/sessions/<id:session_id>/guests")
def guests(session_id: int) -> str:
    """With whom my desktop is shared, and who is there."""
    person().must(Right.READ)
    with site().runtime.database.reading() as db:
        session = service.own(db, person(), session_id)
        return render_template(
            "fragments/guests.html",
            guests=overview.guests(db, session.id),
            recorded=recordings.of_sessions(db, site().settings, [session.id]).get(session.id, []),
            moment=now(),
        )


@blueprint.get("/share/<token>")
def invitation(token: str) -> Response:
    """Sign in first; then read that one is seen there, and join."""
    who = person_or_none()
    if who is None:
        return make_response(redirect(url_for("portal.sign_in", next=url_for(".invitation", token=token))))
    with site().runtime.database.reading() as db:
        link, session = service.invited(db, token[:64])
        if session.user_id == who.user_id:
            return make_response(redirect(url_for("desktop.page", session_id=session.id)))
        owner = db.get_one(User, session.user_id).full_name
    environment = site().settings.environments.get(session.environment)
    name = environment.title if environment else session.environment
    return make_response(render_template("invitation.html", link=link, owner=owner, name=name, token=token))


@blueprint.get("/shared/<id:share_id>")
def desktop(share_id: int) -> str:
    """A desktop that is shared with me; the page itself asks for the ticket and connects."""
    with site().runtime.database.reading() as db:
        share, _ = service.of_guest(db, person(), share_id)
        found = overview.shared_desktop(db, site().settings, share)
    return render_template("shared.html", share=found, name=found.title)


@blueprint.get("/recordings/<id:recording_id>")
def recording(recording_id: int) -> str:
    """What support saw, again; for the session's owner and auditors."""
    person().must(Right.READ)
    with site().runtime.database.reading() as db:
        found, _ = recordings.one(db, site().settings, person(), recording_id)
    return render_template("recording.html", recording=found)
