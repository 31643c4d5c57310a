"""The broker's SSH certificate authorities, over ssh-keygen: one for users and for the broker itself, one for hosts.

Keys lie in the secrets folder: user_ca and host_ca sign; broker is the key that the broker logs in with as root, by a
certificate that lives a day and is renewed in time; ssh_gateway is the SSH gateway's own host key. Certificates begin
a minute early, for clocks that are behind.

An authority is replaced in steps, so that nothing that is open breaks (broker/rotation): NAME.next is believed before
it signs, NAME.old.pub for as long as something lives that it signed.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from broker.clouds.adapter import PRINCIPAL
from broker.errors import InvalidRequest, ServiceDown
from broker.secret_files import belong_to_the_service, drafts, put

_HOST_CERTIFICATE_DAYS = 730  # longer than any machine lives
_BROKER_CERTIFICATE_HOURS = 24
_EARLY = "-1m"
AUTHORITIES = ("user_ca", "host_ca")
GATEWAY = "beamdesk-gateway"  # whom the SSH gateway's host certificate is of; no machine can be called so


@dataclass(frozen=True)
class Trusted:
    """Whom machines and clients believe: public keys, a line each; more than one while an authority is replaced."""

    users: str
    hosts: str


@dataclass(frozen=True)
class Login:
    """A key and its certificate: what the broker logs in to machines with, or what its SSH gateway shows."""

    key: Path
    certificate: Path


def trusted(secrets: Path) -> Trusted:
    """The authorities' public keys; keys are made where they are missing. Safe to call from several processes."""
    return Trusted(*("\n".join(_public_keys(secrets, name)) for name in AUTHORITIES))


def trusted_users(secrets: Path) -> Path:
    """The same of the users' authority, in a file, as sshd wants it."""
    path, lines = secrets / "user_ca.trusted", trusted(secrets).users + "\n"
    if not path.is_file() or path.read_text() != lines:
        put(path, lines)
    return path


def signs(secrets: Path, authority: str) -> str:
    """The public key that the authority signs with now."""
    return make(secrets, authority).with_suffix(".pub").read_text().strip()


def sign_user(
    secrets: Path,
    public_key: str,
    *,
    principals: Sequence[str],
    valid_until: datetime,
    key_id: str,
    options: Sequence[str] = (),
    serial: int | None = None,
) -> str:
    """A user's certificate for `public_key`, with nothing allowed but `options` (permit-pty, source-address=…)."""
    lifetime = int((valid_until - datetime.now(UTC)).total_seconds())
    if lifetime <= 0:
        raise InvalidRequest("The session has ended: no certificate is signed for it.", hint="Start a new session.")
    limits = [word for option in ("clear", *options) for word in ("-O", option)]
    return _sign(secrets, "user_ca", public_key, key_id, principals, f"+{lifetime}s", limits, serial)


def sign_host(secrets: Path, public_key: str, principals: Sequence[str]) -> str:
    """A machine's certificate for its host key, valid for these names and addresses."""
    return _sign(secrets, "host_ca", public_key, principals[0], principals, f"+{_HOST_CERTIFICATE_DAYS}d", ["-h"])


def broker_login(secrets: Path) -> Login:
    """The broker's key and its certificate as root on every machine, which is renewed after half of its life."""
    key = make(secrets, "broker")
    certificate = key.with_name("broker-cert.pub")
    if not _lives_on(certificate, key, signs(secrets, "user_ca"), _BROKER_CERTIFICATE_HOURS / 2):
        signed = sign_user(
            secrets,
            key.with_suffix(".pub").read_text(),
            principals=[PRINCIPAL],
            valid_until=datetime.now(UTC) + timedelta(hours=_BROKER_CERTIFICATE_HOURS),
            key_id="beamdesk-broker",
        )
        put(certificate, signed + "\n")
    return Login(key, certificate)


def gateway_host(secrets: Path) -> Login:
    """The SSH gateway's host key and its certificate, which is renewed after half of its life."""
    key = make(secrets, "ssh_gateway")
    certificate = key.with_name("ssh_gateway-cert.pub")
    if not _lives_on(certificate, key, signs(secrets, "host_ca"), _HOST_CERTIFICATE_DAYS * 24 / 2):
        put(certificate, sign_host(secrets, key.with_suffix(".pub").read_text(), [GATEWAY]) + "\n")
    return Login(key, certificate)


def _lives_on(certificate: Path, key: Path, authority: str, hours: float) -> bool:
    """Whether the certificate is there, of this key and authority, and lives so many hours longer."""
    try:
        identity = load_ssh_public_identity(certificate.read_bytes())
    except (FileNotFoundError, ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(identity, SSHCertificate):
        return False
    own, theirs = (load_ssh_public_identity(text.encode()) for text in (key.with_suffix(".pub").read_text(), authority))
    ours = own == identity.public_key() and theirs == identity.signature_key()
    return ours and identity.valid_before - time.time() > hours * 3600


def _public_keys(secrets: Path, authority: str) -> list[str]:
    """Of those who are believed: the one that signs, the next one, the last one."""
    signing = signs(secrets, authority)
    others = (secrets / f"{authority}.next.pub", secrets / f"{authority}.old.pub")
    found = []
    for path in others:
        with suppress(FileNotFoundError):  # another process may be a step ahead
            found.append(path.read_text().strip())
    return list(dict.fromkeys([signing, *found]))


def make(secrets: Path, name: str) -> Path:
    """The private key of this name, made where it is missing, with its public half beside it."""
    key = secrets / name
    public_half = key.with_name(f"{name}.pub")
    if key.is_file() and public_half.is_file():
        return key
    with drafts(secrets) as folder:
        draft = folder / name
        _keygen("-t", "ed25519", "-N", "", "-C", f"beamdesk {name.removesuffix('.next')}", "-f", str(draft))
        belong_to_the_service(draft, secrets)
        try:
            os.link(draft, key)
        except FileExistsError:  # another process was first, or died before it wrote the public half
            draft = key
        public = folder / "public"
        public.write_text(_keygen("-y", "-f", str(draft)))
        belong_to_the_service(public, secrets)
        public.rename(public_half)
    return key


def _sign(
    secrets: Path,
    authority: str,
    public_key: str,
    key_id: str,
    principals: Sequence[str],
    until: str,
    options: Sequence[str],
    serial: int | None = None,
) -> str:
    with drafts(make(secrets, authority).parent) as folder:
        key = folder / "key.pub"
        key.write_text(public_key.strip() + "\n")
        names = ["-n", ",".join(principals)]
        _keygen(
            *("-s", str(secrets / authority), "-I", key_id, "-z", str(time.time_ns() if serial is None else serial)),
            *names,
            *("-V", f"{_EARLY}:{until}"),
            *options,
            str(key),
        )
        return key.with_name("key-cert.pub").read_text().strip()


def _keygen(*arguments: str) -> str:
    try:
        run = subprocess.run(["ssh-keygen", "-q", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise ServiceDown("ssh-keygen is not installed.", hint="Install the package openssh-client.") from None
    if run.returncode != 0:
        raise InvalidRequest(f"ssh-keygen cannot do this: {run.stderr.strip() or run.stdout.strip()}")
    return run.stdout
