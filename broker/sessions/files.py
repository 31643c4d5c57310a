"""The connection files of a session, for its owner while it is ready."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker import events
from broker.configuration import ca
from broker.connections import files, rdp_signature, tickets
from broker.connections.models import Way
from broker.connections.stand_in import stand_in
from broker.database import now
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.launch import principal
from broker.sessions.models import UserSession
from broker.sessions.service import Desktop

ALLOWED = ("permit-pty", "permit-port-forwarding", "permit-agent-forwarding", "permit-X11-forwarding")


def rdp(runtime: Runtime, person: Person, session_id: int) -> str:
    """A fresh .rdp file of the session, which opens one connection; signed where the settings have a certificate."""
    settings = runtime.settings.rdp
    signer = rdp_signature.signer(settings.signing_certificate, settings.signing_key)
    with runtime.database.transaction() as db:
        desktop = service.own_desktop(db, person, session_id)
        ticket = tickets.issue(db, session_id, person, settings.ticket_seconds, Way.RDP)
        events.record(db, "session:file", session_id, actor=person.name, owner=desktop.user_id, way=Way.RDP)
    ends_here = settings.tls == "gateway"
    text = files.rdp(
        address=runtime.settings.rdp_address,
        user=desktop.user,
        password=stand_in(desktop.password, ticket) if ends_here else desktop.password,
        ticket=ticket,
        named_by_certificate=ends_here,
    )
    return text if signer is None else rdp_signature.sign(text, signer)


def ssh(runtime: Runtime, person: Person, session_id: int) -> str:
    """The session's OpenSSH file; its certificate ends with the lease as it stands now."""
    desktop = service.desktop(runtime, person, session_id)
    with runtime.database.reading() as db:
        until = db.get_one(UserSession, session_id).expires_at or now()
    secrets = runtime.settings.secrets_dir
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    certificate = ca.sign_user(
        secrets,
        public.decode(),
        principals=[principal(session_id)],
        valid_until=until,
        key_id=f"{desktop.user} in session {session_id}",
        options=ALLOWED,
    )
    _note(runtime, person, desktop, "ssh")
    return files.ssh(
        session_id=session_id,
        address=desktop.address,
        host=desktop.machine,
        user=desktop.user,
        private_key=private.decode(),
        certificate=certificate,
        host_ca=ca.ensure_keys(secrets).host_ca_public,
        until=until.isoformat(timespec="minutes"),
    )


def _note(runtime: Runtime, person: Person, desktop: Desktop, kind: str) -> None:
    with runtime.database.transaction() as db:
        events.record(db, "session:file", desktop.session_id, actor=person.name, owner=desktop.user_id, way=kind)
