"""Machines' doors for tests: stunnel as machines run it, and certificates, good and bad."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agents.machine import door
from broker.configuration import desktop_ca
from tests.ports import free_port
from tests.waiting import until

AUTHORITY = "desktop_ca.pem"
MACHINES = tuple(f"light-{number}" for number in range(1, 300))  # as tests' rows are called
MACHINE, GATEWAY = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
Address = tuple[str, int]


@cache
def shared() -> Path:
    """A secrets folder with the one authority of all labs; it goes with this process."""
    secrets = Path(tempfile.mkdtemp(prefix="beamdesk-doors-"))
    atexit.register(_remove, secrets, os.getpid())
    desktop_ca.trusted(secrets)
    return secrets


def _remove(secrets: Path, owner: int) -> None:
    """By the process that made it, and by none that it forked."""
    if os.getpid() == owner:
        shutil.rmtree(secrets, ignore_errors=True)


def trust(state_dir: Path) -> None:
    """Let this deployment's authority be the shared one."""
    (state_dir / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy(shared() / AUTHORITY, state_dir / "secrets" / AUTHORITY)


def signed(
    secrets: Path,
    names: Sequence[str],
    use: x509.ObjectIdentifier = MACHINE,
    *,
    begins: timedelta = timedelta(minutes=-5),
    ends: timedelta = timedelta(hours=1),
) -> tuple[str, str]:
    """A key and a certificate of the folder's authority, good or bad, as PEM."""
    content = (secrets / AUTHORITY).read_bytes()
    authority, signing = x509.load_pem_x509_certificates(content)[0], load_pem_private_key(content, None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    key, moment = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment + begins)
        .not_valid_after(moment + ends)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(signing, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret.decode(), certificate.public_bytes(Encoding.PEM).decode()


@contextmanager
def doors(*ways: tuple[Address, Address], secrets: Path | None = None) -> Iterator[None]:
    """stunnel at these addresses, each leading to another one, as machines of any of MACHINES' names."""
    secrets = secrets or shared()
    with tempfile.TemporaryDirectory(prefix="beamdesk-door-") as name:
        folder = Path(name)
        key, certificate = signed(secrets, MACHINES)
        parts = {"key": key, "certificate": certificate, "authorities": desktop_ca.trusted(secrets)}
        for part, text in parts.items():
            (folder / f"{part}.pem").write_text(text)
        written = [(f"{accept[0]}:{accept[1]}", f"{to[0]}:{to[1]}") for accept, to in ways]
        (folder / "conf").write_text(door.settings(written, folder))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(["stunnel4", str(folder / "conf")], stdout=log, stderr=log)
        try:
            until(lambda: all(map(_listens, ways)), f"the doors: {(folder / 'log').read_text()}", every=0.01)
            yield
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def through(state_dir: Path, name: str, machine: Address) -> Iterator[int]:
    """A port of this host that leads through the machine's door, with what a gateway shows there: for real clients."""
    secrets, port = state_dir / "secrets", free_port()
    login = desktop_ca.gateway_login(secrets)
    with tempfile.TemporaryDirectory(prefix="beamdesk-through-") as folder:
        authorities, config = Path(folder) / "authorities.pem", Path(folder) / "conf"
        authorities.write_text(desktop_ca.trusted(secrets))
        lines = ["foreground = yes", "syslog = no", "pid =", f"[{name}]", "client = yes", f"accept = 127.0.0.1:{port}"]
        lines += [f"connect = {machine[0]}:{machine[1]}", f"cert = {login}", f"CAfile = {authorities}"]
        config.write_text("\n".join([*lines, "verifyChain = yes", f"checkHost = {name}", ""]))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(["stunnel4", str(config)], stdout=log, stderr=log)
        try:
            until(lambda: _listens((("127.0.0.1", port), machine)), "the way through the door", every=0.01)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _listens(way: tuple[Address, Address]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(way[0]) == 0
