"""The broker's X.509 authority for machines' doors: whom a gateway finds behind one, and who may come through it.

The authority signs nothing but this: machines' certificates, good for serving under one machine's name and address, and
the gateways', good for asking, which lives a day and is renewed in time. So no machine's certificate opens another
machine, and no machine can be taken for another one.

In the secrets folder desktop_ca.pem signs. It is replaced in steps, so that nothing that is open breaks (keyring.py,
broker/rotation): desktop_ca.next.pem is believed before it signs, desktop_ca.old.pem, a certificate alone, until every
machine has one of the new.
"""

from __future__ import annotations

import ipaddress
import time
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
from broker.configuration.keyring import Standing, Step
from broker.errors import InvalidRequest
from broker.secret_files import put, put_first

_AUTHORITY_DAYS = 3650
MACHINE_LIFE = timedelta(days=14)  # of a machine's certificate; it gets another one after half of it
_GATEWAY_HOURS = 24
_EARLY = timedelta(minutes=5)  # for clocks that are behind
NAME = "desktop_ca"
_NOW, _NEXT, _OLD = "desktop_ca.pem", "desktop_ca.next.pem", "desktop_ca.old.pem"
_GATEWAY = "gateway_client.pem"


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def trusted(secrets: Path) -> str:
    """The certificates of all authorities that count now, the signing one first; it is made where it is missing."""
    _ensure(secrets, _NOW)
    return "".join(_pem(_certificate(path)) for path in _files(secrets))


def mark(secrets: Path) -> tuple[int, ...]:
    """What changes when one of the files does that gateway_login() and trusted() read."""
    found = []
    for name in (_NOW, _NEXT, _OLD, _GATEWAY):
        try:
            found.append((secrets / name).stat().st_mtime_ns)
        except FileNotFoundError:
            found.append(0)
    return tuple(found)


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
    return _pem(_sign(secrets, asked.public_key(), names, Use.SERVER_AUTH, MACHINE_LIFE))  # type: ignore[arg-type]


def gateway_login(secrets: Path) -> Path:
    """What a gateway shows to machines: a file with its key and its certificate, renewed after half of its life."""
    path, life = secrets / _GATEWAY, timedelta(hours=_GATEWAY_HOURS)
    authority = _certificate(_ensure(secrets, _NOW))
    if not _lives_on(path, authority, life / 2):
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _sign(secrets, key.public_key(), [x509.DNSName(GATEWAY)], Use.CLIENT_AUTH, life)
        put(path, _both(key, signed))
    return path


def standing(secrets: Path) -> Standing:
    """How far the replacing of the authority is; it is made where there is none."""
    _ensure(secrets, _NOW)
    for step, name in ((Step.BEGUN, _NEXT), (Step.SWITCHED, _OLD)):
        if (secrets / name).is_file():
            return Standing(step, _made(secrets / name))
    return Standing(Step.STEADY, _made(secrets / _NOW))


def begin(secrets: Path) -> None:
    """Make the authority that will sign, and believe it."""
    _ensure(secrets, _NOW)
    _ensure(secrets, _NEXT)


def switch(secrets: Path) -> None:
    """Sign with the next authority from now on; of the one before it only the certificate stays."""
    if (secrets / _NEXT).is_file():
        put(secrets / _OLD, _pem(_certificate(secrets / _NOW)))
        (secrets / _NEXT).rename(secrets / _NOW)


def forget(secrets: Path) -> None:
    """Believe the authority before this one no longer."""
    (secrets / _OLD).unlink(missing_ok=True)


def _made(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _files(secrets: Path) -> list[Path]:
    return [path for name in (_NOW, _NEXT, _OLD) if (path := secrets / name).is_file()]


def _ensure(secrets: Path, name: str) -> Path:
    """The authority's file, made where it is missing; of several processes at once, one makes it."""
    path = secrets / name
    if not path.is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        put_first(path, _both(key, _self_signed(key)))
    return path


def _both(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bytes:
    """As they lie in one file."""
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret + certificate.public_bytes(Encoding.PEM)


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
