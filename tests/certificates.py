"""Certificates for tests: authorities, and what they vouch for."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, and whose it is."""

    name: str
    certificate: x509.Certificate
    key: Key

    def vouch_for(self, name: str, *, authority: bool = False) -> Identity:
        """An identity of this name, whose certificate is signed by this one."""
        return _identity(name, self, type(self.key), authority)

    def write(self, folder: Path, *more: Identity) -> tuple[Path, Path]:
        """The certificate, followed by these others', and the key, as PEM files."""
        chain, key = folder / f"{self.name}.pem", folder / f"{self.name}-key.pem"
        chain.write_bytes(b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (self, *more)))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return chain, key


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's side of a TLS in which nobody is anybody."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as folder:
        server.load_cert_chain(*authority().write(Path(folder)))
    return server, client


def authority(kind: type[Key] = ec.EllipticCurvePrivateKey) -> Identity:
    """A new authority, with keys of this kind."""
    return _identity("authority", None, kind, True)


def _identity(name: str, issuer: Identity | None, kind: type[Key], is_authority: bool) -> Identity:
    key: Key = rsa.generate_private_key(65537, 2048) if kind is not ec.EllipticCurvePrivateKey else _curve()
    began = datetime.now(UTC) - timedelta(minutes=5)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer.name if issuer else name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
    )
    return Identity(name, builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def _curve() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
