"""The desktop in the browser."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from broker.courses import overview
from broker.sessions import service
from web.site import person, site

blueprint = Blueprint("desktop", __name__)


@blueprint.get("/desktop/<id:session_id>")
def page(session_id: int) -> str:
    """One session's desktop, or its second screen; the page itself asks for the ticket and connects."""
    with site().runtime.database.reading() as db:
        session = service.mine(db, person(), session_id)
        seat = next((one for one in overview.mine(db, site().settings, person()) if one.session == session_id), None)
    environment = site().settings.environments.get(session.environment)
    name = environment.title if environment else session.environment
    template = "second-screen.html" if request.args.get("screen") == "2" else "desktop.html"
    return render_template(template, session=session, name=name, seat=seat)
