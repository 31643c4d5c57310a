"""Users' own SSH keys, strong enough. What a key opens is said by certificates alone, so whose a key is asks nobody."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker import events
from broker.connections.models import Certificate, SshKey
from broker.database import now
from broker.errors import InvalidRequest, NotFound, ServiceDown, WeakKey
from broker.identity.service import Person
from broker.runtime import Runtime

MOST = 30  # keys of one user
LEAST_RSA_BITS = 3072  # as NIST SP 800-57 asks for from 128 bits of security on
_LINE = re.compile(r"(?P<type>[a-z0-9@.-]{3,64}) (?P<blob>[A-Za-z0-9+/]{40,8000}={0,2})(?: [^\x00-\x1f]*)?")
_KINDS = {
    "ssh-ed25519": "Ed25519",
    "sk-ssh-ed25519@openssh.com": "Ed25519 on a security key",
    "ecdsa-sha2-nistp256": "ECDSA",
    "ecdsa-sha2-nistp384": "ECDSA",
    "ecdsa-sha2-nistp521": "ECDSA",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ECDSA on a security key",
    "ssh-rsa": "RSA",
}
_HINT = "Make one: ssh-keygen -t ed25519. Then paste the line of its file that ends with .pub."


@dataclass(frozen=True)
class PublicKey:
    """A public key that may be used here. `line` is `TYPE BASE64`."""

    line: str
    fingerprint: str
    kind: str


def parse(text: str) -> PublicKey:
    """The public key on this one line, as in a .pub file; InvalidRequest or WeakKey where it cannot be used."""
    if "PRIVATE KEY" in text:
        raise InvalidRequest("This is a private key: it must never leave your computer.", hint=_HINT)
    found = _LINE.fullmatch(text.strip())
    if not found:
        raise InvalidRequest("This is no SSH public key.", hint=_HINT)
    kind, line = found["type"], f"{found['type']} {found['blob']}"
    if kind == "ssh-dss":
        raise WeakKey("DSA keys are too weak.", hint=_HINT)
    if kind not in _KINDS:
        raise InvalidRequest(f"Keys of type {kind} cannot be used here.", hint=_HINT)
    bits = _bits(line)
    if kind == "ssh-rsa" and bits < LEAST_RSA_BITS:
        raise WeakKey(f"This RSA key has {bits} bits; {LEAST_RSA_BITS} are the least.", hint=_HINT)
    return PublicKey(line, _fingerprint(found["blob"]), f"{_KINDS[kind]}, {bits} bits")


def _bits(line: str) -> int:
    """How long the key is, if OpenSSH can read it."""
    try:
        run = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=line + "\n", capture_output=True, text=True)
    except FileNotFoundError:
        raise ServiceDown("ssh-keygen is not installed.", hint="Install the package openssh-client.") from None
    if run.returncode != 0:
        raise InvalidRequest("OpenSSH cannot read this public key.", hint=_HINT)
    return int(run.stdout.split()[0])


def _fingerprint(blob: str) -> str:
    """As `ssh-keygen -l` shows it."""
    try:
        hashed = hashlib.sha256(base64.b64decode(blob, validate=True)).digest()
    except binascii.Error:
        raise InvalidRequest("This is no SSH public key.", hint=_HINT) from None
    return "SHA256:" + base64.b64encode(hashed).decode().rstrip("=")


def add(runtime: Runtime, person: Person, name: str, text: str) -> SshKey:
    """Register the key; the same one again gets the new name."""
    key = parse(text)
    try:
        with runtime.database.transaction() as db:
            return _save(db, person, name, key)
    except IntegrityError:  # another request was registering it at this very moment
        with runtime.database.transaction() as db:
            return _save(db, person, name, key)


def _save(db: Session, person: Person, name: str, key: PublicKey) -> SshKey:
    row = known(db, person, key.fingerprint)
    if row is None:
        _must_have_room(db, person)
        row = SshKey(user_id=person.user_id, name=name, public_key=key.line, fingerprint=key.fingerprint, kind=key.kind)
        db.add(row)
    row.name = name
    db.flush()
    events.record(
        db, "key:save", row.id, actor=person.name, owner=person.user_id, name=name, fingerprint=key.fingerprint
    )
    return row


def _must_have_room(db: Session, person: Person) -> None:
    number = db.scalar(select(func.count()).select_from(SshKey).where(SshKey.user_id == person.user_id))
    if (number or 0) >= MOST:
        raise InvalidRequest(f"You have {MOST} keys already.", hint="Remove one that you no longer use.")


def known(db: Session, person: Person, fingerprint: str) -> SshKey | None:
    """The person's registered key of this fingerprint, if it is one."""
    return db.scalar(select(SshKey).where(SshKey.user_id == person.user_id, SshKey.fingerprint == fingerprint))


def listed(db: Session, person: Person) -> Sequence[SshKey]:
    """The person's keys, the oldest first."""
    return db.scalars(select(SshKey).where(SshKey.user_id == person.user_id).order_by(SshKey.id)).all()


def mine(db: Session, person: Person, key_id: int) -> SshKey:
    """The person's key of this number, or NotFound."""
    row = db.get(SshKey, key_id)
    if row is None or row.user_id != person.user_id:
        raise NotFound(f"There is no key {key_id} of yours.", hint="Look at your list of SSH keys.")
    return row


def remove(runtime: Runtime, person: Person, key_id: int) -> None:
    """Forget the key; its certificates open nothing any more, and the gateway closes what they had opened."""
    with runtime.database.transaction() as db:
        row = mine(db, person, key_id)
        of_it = (Certificate.ssh_key_id == row.id, Certificate.withdrawn_at.is_(None))
        db.execute(update(Certificate).where(*of_it).values(withdrawn_at=now()))
        db.delete(row)
        events.record(
            db,
            "key:remove",
            row.id,
            actor=person.name,
            owner=person.user_id,
            name=row.name,
            fingerprint=row.fingerprint,
        )
