"""Ways into a session."""

from __future__ import annotations

from urllib.parse import urlsplit

from apiflask import APIBlueprint
from flask import Response, request

from broker.identity.rights import Right
from broker.sessions import files, service
from web.api.schemas.sessions import TicketOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("connections", __name__, tag="Connections")
ONE = "/sessions/<id:session_id>"


@blueprint.post(f"{ONE}/tickets")
@blueprint.output(TicketOut, 201)
@blueprint.doc(responses=[403, 409])
@needs(Right.CONNECT)
def ticket(session_id: int) -> TicketOut:
    """A ticket for the desktop in the browser

    It opens one connection, once, within a minute.
    """
    token = service.ticket(site().runtime, person(), session_id)
    return TicketOut(ticket=token, url=f"{gateway()}/desktop?token={token}")


@blueprint.post(f"{ONE}/sound-tickets")
@blueprint.output(TicketOut, 201)
@blueprint.doc(responses=[403, 409])
@needs(Right.CONNECT)
def sound_ticket(session_id: int) -> TicketOut:
    """A ticket for the desktop's sound in the browser

    It opens one connection, once, within a minute: Ogg with Opus, a page in each message.
    """
    token = service.sound_ticket(site().runtime, person(), session_id)
    return TicketOut(ticket=token, url=f"{gateway()}/sound?token={token}")


@blueprint.get(f"{ONE}/connection.rdp")
@blueprint.doc(responses=[403, 409])
@needs(Right.CONNECT)
def rdp_file(session_id: int) -> Response:
    """The RDP file

    It opens the desktop by a double click, without a question: one connection, within minutes. Each call is a fresh
    one.
    """
    return _file(files.rdp(site().runtime, person(), session_id), "application/x-rdp", f"beamdesk-{session_id}.rdp")


def _file(text: str, kind: str, name: str) -> Response:
    return Response(text, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def gateway() -> str:
    """The gateway's address; where it is on the host that the page came from, by the name that was used there."""
    public, used = urlsplit(site().settings.gateway.public_url), urlsplit(f"//{request.host}").hostname
    page = urlsplit(site().settings.web.public_url).hostname
    if public.hostname == page and used and public.port:
        return f"{public.scheme}://{used}:{public.port}"
    return site().settings.gateway.public_url
