"""SSH certificates: one session's, for one key, no longer than the lease; and which of them open something now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, aliased

from broker import events
from broker.configuration import ca
from broker.connections import files, keys, policy
from broker.connections.keys import PublicKey
from broker.connections.models import Certificate, SshKey
from broker.database import now
from broker.errors import Forbidden, PolicyForbids, SessionNotReady
from broker.identity.models import SignIn, User
from broker.identity.service import Person
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.launch import principal
from broker.sessions.models import SessionState, UserSession, runs_as
from broker.sessions.service import Desktop
from broker.settings import Settings

ALLOWED = ("permit-pty", "permit-port-forwarding", "permit-agent-forwarding", "permit-X11-forwarding")


@dataclass(frozen=True)
class Issued:
    """A certificate, and the OpenSSH file that uses it. With a registered key the file finds that where OpenSSH looks
    by itself; else it expects the private key in the user's .ssh folder under the name `key_file`."""

    serial: int
    certificate: str
    fingerprint: str
    expires_at: datetime
    key_file: str | None
    config: str


def for_key(runtime: Runtime, person: Person, session_id: int, key_id: int) -> Issued:
    """A certificate of the person's ready session for a registered key of the same person."""
    with runtime.database.reading() as db:
        row = keys.mine(db, person, key_id)
    key = PublicKey(row.public_key, row.fingerprint, row.kind)
    return _issue(runtime, person, session_id, key, registered=True)


def for_public_key(runtime: Runtime, person: Person, session_id: int, text: str) -> Issued:
    """A certificate of the person's ready session for this public key, as one that was made for it alone."""
    return _issue(runtime, person, session_id, keys.parse(text), registered=False)


def _issue(runtime: Runtime, person: Person, session_id: int, key: PublicKey, *, registered: bool) -> Issued:
    desktop = service.desktop(runtime, person, session_id)
    _must_be_open(desktop)
    row = _write_down(runtime, person, desktop, key)
    secrets = runtime.settings.secrets_dir
    signed = ca.sign_user(
        secrets,
        key.line,
        principals=[principal(session_id), gateway_principal(row.id)],
        valid_until=row.expires_at,
        key_id=f"{desktop.user} in session {session_id}",
        options=ALLOWED,
        serial=row.id,
    )
    certificate = " ".join(signed.split()[:2])  # without ssh-keygen's comment
    host, port = runtime.settings.ssh_address
    config = files.ssh(
        session_id=session_id,
        address=desktop.address,
        port=desktop.ssh_port,
        host=desktop.machine,
        user=desktop.account,
        gateway=files.Gateway(host, port, runtime.settings.ssh_account, ca.GATEWAY),
        certificate=certificate,
        host_cas=ca.trusted(secrets).hosts,
        until=row.expires_at.isoformat(timespec="minutes"),
        own_key=not registered,
    )
    key_file = None if registered else files.key_file(session_id)
    return Issued(row.id, certificate, key.fingerprint, row.expires_at, key_file, config)


def _must_be_open(desktop: Desktop) -> None:
    """SSH carries files and ports both ways, and nobody can tell what is in them: it is open for all or shut."""
    if not policy.by_ssh(desktop.policy):
        raise PolicyForbids(
            "SSH would carry files and copies both ways, which is not allowed for this desktop.",
            hint="Use the browser or the Remote Desktop file.",
            not_allowed=policy.not_allowed(desktop.policy),
        )


def _write_down(runtime: Runtime, person: Person, desktop: Desktop, key: PublicKey) -> Certificate:
    if person.sign_in_id is None:
        raise Forbidden("A certificate hangs on a sign-in.", hint="Sign in, and ask with that sign-in's token.")
    with runtime.database.transaction() as db:
        until = db.get_one(UserSession, desktop.session_id).expires_at
        if until is None or until <= now():
            raise SessionNotReady(f"Session {desktop.session_id} is just ending.", hint="Launch a new one.")
        known = keys.known(db, person, key.fingerprint)
        row = Certificate(
            session_id=desktop.session_id,
            user_id=person.user_id,
            sign_in_id=person.sign_in_id,
            ssh_key_id=known.id if known else None,
            fingerprint=key.fingerprint,
            expires_at=until,
        )
        db.add(row)
        db.flush()
        events.record(
            db,
            "certificate:issue",
            row.id,
            actor=person.name,
            owner=person.user_id,
            session=desktop.session_id,
            fingerprint=key.fingerprint,
            until=until.isoformat(timespec="seconds"),
        )
        return row


def gateway_principal(serial: int) -> str:
    """The name by which the SSH gateway knows this very certificate; machines know it by its session's."""
    return f"certificate-{serial}"


@dataclass(frozen=True)
class Live:
    """A certificate that opens something now: the machine of its session."""

    serial: int
    address: str
    port: int


def live(db: Session, settings: Settings) -> Sequence[Live]:
    """The certificates with which somebody may come in at this moment, as sessions, sign-ins and policies are now."""
    owner, account = aliased(User), aliased(User)
    rows = db.execute(
        select(Certificate.id, Machine.address, Machine.ssh_port, UserSession.environment, owner, account)
        .join(UserSession, UserSession.id == Certificate.session_id)
        .join(owner, owner.id == UserSession.user_id)
        .join(account, runs_as(account))
        .join(Machine, Machine.id == UserSession.machine_id)
        .join(SignIn, SignIn.id == Certificate.sign_in_id)
        .where(*opens_now())
    )
    return [
        Live(serial, address, port)
        for serial, address, port, environment, *users in rows
        if address and policy.by_ssh(policy.of_all(settings, environment, users))
    ]


def opens_now() -> tuple[ColumnElement[bool], ...]:
    """Conditions of such certificates, joined with their sessions and sign-ins."""
    stands = (Certificate.withdrawn_at.is_(None), SignIn.revoked_at.is_(None), Certificate.expires_at > now())
    of_owner = Certificate.user_id == UserSession.user_id  # not of who has handed it over since
    return (UserSession.state == SessionState.READY, of_owner, *stands)


def used(db: Session, settings: Settings, serial: int) -> Desktop:
    """What the certificate opens, which has just come in through the gateway; SessionNotReady where it is over, or
    PolicyForbids where it opens no longer."""
    certificate = db.get_one(Certificate, serial)
    certificate.used_at = now()
    if certificate.ssh_key_id is not None:
        db.get_one(SshKey, certificate.ssh_key_id).used_at = now()
        events.changed(db, "key", certificate.ssh_key_id, certificate.user_id)
    session = db.get_one(UserSession, certificate.session_id)
    if session.user_id != certificate.user_id:
        raise SessionNotReady(f"Session {session.id} was handed over.", hint="Ask its owner to share it with you.")
    desktop = service.desktop_of(db, settings, session, certificate.sign_in_id)
    _must_be_open(desktop)
    return desktop
