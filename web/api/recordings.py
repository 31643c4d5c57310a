"""Recordings of support's windows, for the session's owner and for auditors."""

from __future__ import annotations

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response, send_file

from broker.errors import NotFound
from broker.identity.rights import Right
from broker.sessions.models import UserSession
from broker.sharing import recordings
from broker.sharing.recordings import Recording
from web.api.schemas import many
from web.api.schemas.shares import RecordingOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("recordings", __name__, tag="Shares")
KIND = "application/octet-stream"


@blueprint.get("/sessions/<id:session_id>/recordings")
@blueprint.output(many(RecordingOut))
@needs(Right.READ)
def of_session(session_id: int) -> list[Recording]:
    """What support saw of a session of mine; for auditors, of anybody's"""
    with site().runtime.database.reading() as db:
        session = db.get(UserSession, session_id)
        if session is None or not (session.user_id == person().user_id or person().may(Right.AUDIT)):
            raise NotFound(f"There is no session {session_id} of yours.", hint="Look at your history.")
        return recordings.of_sessions(db, site().settings, [session_id]).get(session_id, [])


@blueprint.get("/recordings/<id:recording_id>")
@blueprint.output(FileSchema(type="string", format="binary"), content_type=KIND)
@needs(Right.READ)
def recording(recording_id: int) -> Response:
    """One recording, as timestamped RFB (FBS 001.000)"""
    with site().runtime.database.reading() as db:
        _, file = recordings.one(db, site().settings, person(), recording_id)
    return send_file(file, mimetype=KIND, max_age=0, conditional=False)
