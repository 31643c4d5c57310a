"""The desktop in the browser."""

from __future__ import annotations

from flask import Blueprint, render_template

from broker.courses import overview
from broker.sessions import service
from web.site import person, site

blueprint = Blueprint("desktop", __name__)


@blueprint.get("/desktop/<id:session_id>")
def page(session_id: int) -> str:
    """One session's desktop; the page itself asks for the ticket and connects."""
    with site().runtime.database.reading() as db:
        session = service.mine(db, person(), session_id)
        seat = next((one for one in overview.mine(db, site().settings, person()) if one.session == session_id), None)
    environment = site().settings.environments.get(session.environment)
    return render_template(
        "desktop.html", session=session, name=environment.title if environment else session.environment, seat=seat
    )
