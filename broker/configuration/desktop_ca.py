"""The broker's X.509 authority for machines' doors: whom a gateway finds behind one, and who may come through it.

The authority signs nothing but this: machines' certificates, good for serving under one machine's name and address, and
the gateways', good for asking, which lives a day and is renewed in time. So no machine's certificate opens another
machine, and no machine can be taken for another one.

In the secrets folder desktop_ca.pem signs. To replace it while sessions are open there may be a desktop_ca_next.pem,
which is trusted already, and a desktop_ca_before.pem, which is trusted still: introduce() a new one, lay it on every
machine, switch() to it, lay its certificates on every machine, retire() the old one.
"""

from __future__ import annotations

import ipaddress
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID as Use
from cryptography.x509.oid import NameOID

from broker.configuration.ca import GATEWAY
from broker.errors import InvalidRequest

_AUTHORITY_DAYS = 3650
_MACHINE_DAYS = 730  # longer than any machine lives
_GATEWAY_HOURS = 24
_EARLY = timedelta(minutes=5)  # for clocks that are behind
_NOW, _NEXT, _BEFORE = "desktop_ca.pem", "desktop_ca_next.pem", "desktop_ca_before.pem"


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def trusted(secrets: Path) -> str:
    """The certificates of all authorities that count now, the signing one first; it is made where it is missing."""
    _ensure(secrets, _NOW)
    return "".join(_pem(_certificate(path)) for path in _files(secrets))


def sign_machine(secrets: Path, request: str, name: str, address: str) -> str:
    """A machine's certificate for the key in its request; InvalidRequest where that is none. Name and address are what
    its cloud says of it: whatever else the request asks for is not looked at."""
    try:
        asked = x509.load_pem_x509_csr(request.encode())
        key = asked.public_key()
        sound = asked.is_signature_valid and isinstance(key, ec.EllipticCurvePublicKey)
    except ValueError:
        sound = False
    if not sound:
        raise InvalidRequest(f"Machine {name} sent no certificate signing request that could be signed.")
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))]
    return _pem(_sign(secrets, asked.public_key(), names, Use.SERVER_AUTH, timedelta(days=_MACHINE_DAYS)))  # type: ignore[arg-type]


def gateway_login(secrets: Path) -> Path:
    """What a gateway shows to machines: a file with its key and its certificate, renewed after half of its life."""
    path, life = secrets / "gateway_client.pem", timedelta(hours=_GATEWAY_HOURS)
    authority = _certificate(_ensure(secrets, _NOW))
    if not _lives_on(path, authority, life / 2):
        key = ec.generate_private_key(ec.SECP256R1())
        _put(path, key, _sign(secrets, key.public_key(), [x509.DNSName(GATEWAY)], Use.CLIENT_AUTH, life))
    return path


def introduce(secrets: Path) -> None:
    """Let a new authority be trusted, beside the one that goes on signing."""
    _ensure(secrets, _NOW)
    _ensure(secrets, _NEXT)


def switch(secrets: Path) -> None:
    """Let the introduced authority sign; the one before it is trusted still. InvalidRequest where there is none."""
    if not (secrets / _NEXT).is_file():
        raise InvalidRequest("No new authority of machines' doors was introduced.")
    with suppress(FileExistsError):  # an earlier switch was cut off here
        os.link(secrets / _NOW, secrets / _BEFORE)
    (secrets / _NEXT).rename(secrets / _NOW)


def retire(secrets: Path) -> None:
    """Let the authority before this one be trusted no more."""
    (secrets / _BEFORE).unlink(missing_ok=True)


def _files(secrets: Path) -> list[Path]:
    return [path for name in (_NOW, _NEXT, _BEFORE) if (path := secrets / name).is_file()]


def _ensure(secrets: Path, name: str) -> Path:
    """The authority's file, made where it is missing; of several processes at once, one makes it."""
    path = secrets / name
    if not path.is_file():
        secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=secrets) as folder:
            draft = Path(folder) / name
            key = ec.generate_private_key(ec.SECP256R1())
            _put(draft, key, _self_signed(key))
            with suppress(FileExistsError):
                os.link(draft, path)
    return path


def _put(path: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Write both into one file, whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret + certificate.public_bytes(Encoding.PEM))
    draft.rename(path)


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _authority(secrets: Path) -> _Authority:
    path = _ensure(secrets, _NOW)
    content = path.read_bytes()
    key = load_pem_private_key(content, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - it is ours
    return _Authority(x509.load_pem_x509_certificates(content)[0], key)


def _lives_on(path: Path, authority: x509.Certificate, longer: timedelta) -> bool:
    """Whether the certificate is there, of this authority, and lives so much longer."""
    try:
        certificate = _certificate(path)
        certificate.verify_directly_issued_by(authority)
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
        return False
    return certificate.not_valid_after_utc - datetime.now(UTC) > longer


def _sign(
    secrets: Path,
    key: ec.EllipticCurvePublicKey,
    names: list[x509.GeneralName],
    use: x509.ObjectIdentifier,
    life: timedelta,
) -> x509.Certificate:
    authority = _authority(secrets)
    alternatives = x509.SubjectAlternativeName(names)
    return (
        _builder(_named(str(names[0].value)), authority.certificate.subject, key, life)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=True)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _named(f"Beamdesk machines {time.time_ns()}")  # each its own: the name says which one signed
    return (
        _builder(name, name, key.public_key(), timedelta(days=_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    began = datetime.now(UTC) - _EARLY
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + _EARLY + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
