"""The connection files of a session, for its owner while it is ready."""

from __future__ import annotations

from broker import events
from broker.connections import files, policy, rdp_signature, tickets
from broker.connections.models import Way
from broker.connections.stand_in import stand_in
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.service import Desktop


def rdp(runtime: Runtime, person: Person, session_id: int) -> str:
    """A fresh .rdp file of the session, which opens one connection; signed where the settings have a certificate."""
    settings = runtime.settings.rdp
    signer = rdp_signature.signer(settings.signing_certificate, settings.signing_key)
    with runtime.database.transaction() as db:
        desktop = service.own_desktop(db, runtime.settings, person, session_id)
        ticket = tickets.issue(db, session_id, person, settings.ticket_seconds, Way.RDP)
        events.record(db, "session:file", session_id, actor=person.name, owner=desktop.user_id, way=Way.RDP)
    ends_here = settings.tls == "gateway"
    text = files.rdp(
        address=runtime.settings.rdp_address,
        user=desktop.account,
        password=stand_in(desktop.password, ticket) if ends_here else desktop.password,
        ticket=ticket,
        named_by_certificate=ends_here,
        clipboard=policy.rdp_clipboard(desktop.policy),
    )
    return text if signer is None else rdp_signature.sign(text, signer)


def _note(runtime: Runtime, person: Person, desktop: Desktop, kind: str) -> None:
    with runtime.database.transaction() as db:
        events.record(db, "session:file", desktop.session_id, actor=person.name, owner=desktop.user_id, way=kind)
