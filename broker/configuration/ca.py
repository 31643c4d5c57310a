"""The broker's SSH certificate authorities, over ssh-keygen: one for users and for the broker itself, one for hosts.

Keys lie in the secrets folder: user_ca and host_ca sign; broker is the key that the broker logs in with as root, by a
certificate that lives a day and is renewed in time; ssh_gateway is the SSH gateway's own host key. Certificates begin
a minute early, for clocks that are behind.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from broker.clouds.adapter import PRINCIPAL
from broker.errors import InvalidRequest, ServiceDown

_HOST_CERTIFICATE_DAYS = 730  # longer than any machine lives
_BROKER_CERTIFICATE_HOURS = 24
_EARLY = "-1m"
GATEWAY = "beamdesk-gateway"  # whom the SSH gateway's host certificate is of; no machine can be called so


@dataclass(frozen=True)
class Keys:
    """The public halves of both authorities, as one line each."""

    user_ca_public: str
    host_ca_public: str


@dataclass(frozen=True)
class Login:
    """A key and its certificate: what the broker logs in to machines with, or what its SSH gateway shows."""

    key: Path
    certificate: Path


def ensure_keys(secrets: Path) -> Keys:
    """The authorities' public keys; the keys are made where they are missing. Safe to call from several processes."""
    return Keys(
        *(_ensure_key(secrets, name).with_suffix(".pub").read_text().strip() for name in ("user_ca", "host_ca"))
    )


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
    key = _ensure_key(secrets, "broker")
    certificate = key.with_name("broker-cert.pub")
    keys = ensure_keys(secrets)
    if not _lives_on(certificate, keys.user_ca_public, _BROKER_CERTIFICATE_HOURS / 2):
        signed = sign_user(
            secrets,
            key.with_suffix(".pub").read_text(),
            principals=[PRINCIPAL],
            valid_until=datetime.now(UTC) + timedelta(hours=_BROKER_CERTIFICATE_HOURS),
            key_id="beamdesk-broker",
        )
        _put(certificate, signed)
    return Login(key, certificate)


def gateway_host(secrets: Path) -> Login:
    """The SSH gateway's host key and its certificate, which is renewed after half of its life."""
    key = _ensure_key(secrets, "ssh_gateway")
    certificate = key.with_name("ssh_gateway-cert.pub")
    if not _lives_on(certificate, ensure_keys(secrets).host_ca_public, _HOST_CERTIFICATE_DAYS * 24 / 2):
        _put(certificate, sign_host(secrets, key.with_suffix(".pub").read_text(), [GATEWAY]))
    return Login(key, certificate)


def _put(certificate: Path, signed: str) -> None:
    draft = certificate.with_name(f".{certificate.stem}.{os.getpid()}.{time.monotonic_ns()}")
    draft.write_text(signed + "\n")
    draft.rename(certificate)


def _lives_on(certificate: Path, authority: str, hours: float) -> bool:
    """Whether the certificate is there, of this authority, and lives so many hours longer."""
    try:
        identity = load_ssh_public_identity(certificate.read_bytes())
    except (FileNotFoundError, ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(identity, SSHCertificate):
        return False
    same = load_ssh_public_identity(authority.encode()) == identity.signature_key()
    return same and identity.valid_before - time.time() > hours * 3600


def _ensure_key(secrets: Path, name: str) -> Path:
    key = secrets / name
    if key.is_file() and key.with_suffix(".pub").is_file():
        return key
    secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=secrets) as folder:
        draft = Path(folder) / name
        _keygen("-t", "ed25519", "-N", "", "-C", f"beamdesk {name}", "-f", str(draft))
        try:
            os.link(draft, key)
        except FileExistsError:  # another process was first, or died before it wrote the public half
            draft = key
        public = Path(folder) / "public"
        public.write_text(_keygen("-y", "-f", str(draft)))
        public.rename(key.with_suffix(".pub"))
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
    with tempfile.TemporaryDirectory(dir=_ensure_key(secrets, authority).parent) as folder:
        key = Path(folder) / "key.pub"
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
