"""Shares: desktops that others than their owner may open."""

from __future__ import annotations

from datetime import timedelta

from apiflask import APIBlueprint

from broker.connections.models import Share, Way
from broker.identity.rights import Right
from broker.sharing import overview, service
from broker.sharing.overview import Guest, SharedDesktop
from web.api.connections import gateway
from web.api.schemas import many
from web.api.schemas.sessions import TicketOut
from web.api.schemas.shares import GuestOut, JoinLinkBody, ShareBody, SharedOut, ShareMadeOut
from web.rights import needs
from web.sharing import link
from web.site import person, site

blueprint = APIBlueprint("shares", __name__, tag="Shares")
OF_SESSION = "/sessions/<id:session_id>/shares"
ONE = "/shares/<id:share_id>"


@blueprint.get(OF_SESSION)
@blueprint.output(many(GuestOut))
@needs(Right.READ)
def guests(session_id: int) -> list[Guest]:
    """With whom my desktop is shared, and who has it open"""
    with site().runtime.database.reading() as db:
        return overview.guests(db, service.own(db, person(), session_id).id)


@blueprint.post(OF_SESSION)
@blueprint.input(ShareBody, arg_name="body")
@blueprint.output(ShareMadeOut, 201)
@blueprint.doc(responses=[403, 404, 409, 422, 429])
@needs(Right.LAUNCH)
def share(session_id: int, body: ShareBody) -> ShareMadeOut:
    """Share my desktop

    With a named user, or by a link where none is named; to look only, or with full control. It ends by itself, with the
    session at the latest. The same user again gets this end and this control.
    """
    wish, lasts = {"control": body.control}, timedelta(hours=body.hours)
    if body.user is not None:
        return _made(service.with_user(site().runtime, person(), session_id, body.user, lasts=lasts, **wish))
    made, token = service.by_link(site().runtime, person(), session_id, lasts=lasts, **wish)
    return _made(made, link(token))


def _made(made: Share, address: str | None = None) -> ShareMadeOut:
    with site().runtime.database.reading() as db:
        found = overview.guest(db, made.id)
    return ShareMadeOut(share=GuestOut.model_validate(found), link=address)


@blueprint.delete(f"{OF_SESSION}/<id:share_id>")
@blueprint.doc(responses={204: "Withdrawn"})
@needs(Right.LAUNCH)
def withdraw(session_id: int, share_id: int) -> tuple[str, int]:
    """Withdraw a share

    What the guest has open closes within a second; a link goes with all who came by it. Twice is once.
    """
    service.withdraw(site().runtime, person(), session_id, share_id)
    return "", 204


@blueprint.delete(OF_SESSION)
@blueprint.doc(responses={204: "Withdrawn"})
@needs(Right.LAUNCH)
def withdraw_all(session_id: int) -> tuple[str, int]:
    """Withdraw all shares of a session, and its links"""
    service.withdraw_all(site().runtime, person(), session_id)
    return "", 204


@blueprint.get("/shares")
@blueprint.output(many(SharedOut))
@needs(Right.READ)
def shared_with_me() -> list[SharedDesktop]:
    """The desktops that are shared with me, the newest first"""
    with site().runtime.database.reading() as db:
        return overview.shared_with(db, site().settings, person())


@blueprint.post("/shares/join")
@blueprint.input(JoinLinkBody, arg_name="body")
@blueprint.output(SharedOut, 201)
@blueprint.doc(responses=[403, 404, 409, 422, 429])
@needs(Right.CONNECT)
def join(body: JoinLinkBody) -> SharedDesktop:
    """Become a guest, by the secret of a link

    The owner sees my name, and when I have the desktop open. Twice is once.
    """
    return _shared(service.join(site().runtime, person(), body.token).id)


@blueprint.get(ONE)
@blueprint.output(SharedOut)
@needs(Right.READ)
def shared(share_id: int) -> SharedDesktop:
    """One desktop that is, or was, shared with me"""
    return _shared(share_id)


@blueprint.delete(ONE)
@blueprint.doc(responses={204: "Left"})
@needs(Right.CONNECT)
def leave(share_id: int) -> tuple[str, int]:
    """Give a share back that I was given; what I have open closes"""
    service.leave(site().runtime, person(), share_id)
    return "", 204


@blueprint.post(f"{ONE}/tickets")
@blueprint.output(TicketOut, 201)
@blueprint.doc(responses=[403, 409])
@needs(Right.CONNECT)
def ticket(share_id: int) -> TicketOut:
    """A ticket for a desktop that is shared with me

    It opens one connection in the browser, once, within a minute.
    """
    token = service.ticket(site().runtime, person(), share_id)
    return TicketOut(ticket=token, url=f"{gateway()}/desktop?token={token}")


@blueprint.post(f"{ONE}/sound-tickets")
@blueprint.output(TicketOut, 201)
@blueprint.doc(responses=[403, 409])
@needs(Right.CONNECT)
def sound_ticket(share_id: int) -> TicketOut:
    """A ticket for the sound of a desktop that is shared with me

    Where both its owner and I may hear it; support does not, because it could not be recorded.
    """
    token = service.ticket(site().runtime, person(), share_id, Way.SOUND)
    return TicketOut(ticket=token, url=f"{gateway()}/sound?token={token}")


def _shared(share_id: int) -> SharedDesktop:
    with site().runtime.database.reading() as db:
        share, _ = service.of_guest(db, person(), share_id)
        return overview.shared_desktop(db, site().settings, share)
