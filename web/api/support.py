"""Support: asks to join somebody's session, and the owner answers; an administrator joins at once."""

from __future__ import annotations

from apiflask import APIBlueprint

from broker.identity.models import User
from broker.identity.rights import Right
from broker.sessions.models import UserSession
from broker.sharing import overview, support
from broker.sharing.models import Answer, JoinRequest
from broker.sharing.overview import SharedDesktop
from web.api.schemas import many
from web.api.schemas.shares import AnswerBody, BreakGlassBody, JoinRequestBody, JoinRequestOut, SharedOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("support", __name__, tag="Shares")
OF_SESSION = "/sessions/<id:session_id>"
ONE = "/join-requests/<id:request_id>"


@blueprint.post(f"{OF_SESSION}/join-requests")
@blueprint.input(JoinRequestBody, arg_name="body")
@blueprint.output(JoinRequestOut, 201)
@blueprint.doc(responses=[404, 409, 422])
@needs(Right.JOIN)
def ask(session_id: int, body: JoinRequestBody) -> JoinRequestOut:
    """Ask to join somebody's session

    Its owner reads the reason, and allows it or not. Twice is once, while nobody has answered.
    """
    return _card(support.ask(site().runtime, person(), session_id, body.reason).id)


@blueprint.get("/join-requests")
@blueprint.output(many(JoinRequestOut))
@needs(Right.READ)
def open_questions() -> list[JoinRequestOut]:
    """Who asks to join a session of mine, and waits for my answer"""
    with site().runtime.database.reading() as db:
        return [_shown(*row) for row in support.open_questions(db, person())]


@blueprint.get(ONE)
@blueprint.output(JoinRequestOut)
@needs(Right.JOIN)
def question(request_id: int) -> JoinRequestOut:
    """What became of my question"""
    with site().runtime.database.reading() as db:
        support.asked_by(db, person(), request_id)
    return _card(request_id)


@blueprint.post(ONE)
@blueprint.input(AnswerBody, arg_name="body")
@blueprint.output(JoinRequestOut)
@blueprint.doc(responses=[404, 409, 422, 429])
@needs(Right.LAUNCH)
def answer(request_id: int, body: AnswerBody) -> JoinRequestOut:
    """Let support join my session, to look or with control, or refuse it

    What is allowed is a share for an hour, which I can withdraw before.
    """
    return _card(support.answer(site().runtime, person(), request_id, Answer(body.answer)).id)


@blueprint.delete(ONE)
@blueprint.output(JoinRequestOut)
@blueprint.doc(responses=[409])
@needs(Right.JOIN)
def take_back(request_id: int) -> JoinRequestOut:
    """Ask no longer"""
    return _card(support.take_back(site().runtime, person(), request_id).id)


@blueprint.post(f"{OF_SESSION}/break-glass")
@blueprint.input(BreakGlassBody, arg_name="body")
@blueprint.output(SharedOut, 201)
@blueprint.doc(responses=[404, 409, 422])
@needs(Right.BREAK_GLASS)
def break_glass(session_id: int, body: BreakGlassBody) -> SharedDesktop:
    """Join somebody's session without asking

    Its owner sees it at once, with the reason, and in the history; it is in the audit log. It lasts an hour at most.
    """
    share = support.break_glass(site().runtime, person(), session_id, body.reason, control=body.control)
    with site().runtime.database.reading() as db:
        return overview.shared_desktop(db, site().settings, share)


def _card(request_id: int) -> JoinRequestOut:
    with site().runtime.database.reading() as db:
        request = db.get_one(JoinRequest, request_id)
        session, user = db.get_one(UserSession, request.session_id), db.get_one(User, request.user_id)
        return _shown(request, session, user)


def _shown(request: JoinRequest, session: UserSession, user: User) -> JoinRequestOut:
    environment = site().settings.environments.get(session.environment)
    return JoinRequestOut(
        id=request.id,
        session=session.id,
        title=environment.title if environment else session.environment,
        user=user.name,
        full_name=user.full_name,
        reason=request.reason,
        asked_at=request.asked_at,
        expires_at=request.expires_at,
        answer=request.answer,
        share=request.share_id,
    )
