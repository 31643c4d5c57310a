"""The authority of machines' doors: what its certificates are good for, and that it can be replaced without a gap."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from broker.configuration import desktop_ca
from broker.configuration.keyring import Step
from broker.errors import InvalidRequest


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def request(key: Key, name: str = "another-machine") -> str:
    """What a machine sends; it may ask for a name that is not its own."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def machine(secrets: Path, name: str = "light-1") -> Path:
    """A machine's file, with its key and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    file = secrets / f"{name}-{time.monotonic_ns()}.pem"
    certificate = desktop_ca.sign_machine(secrets, request(key), name, "192.0.2.7")
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file.write_text(secret + certificate)
    return file


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(file.read_bytes())[0]


def meet(trusts: str, server: Path, gateway: Path, *, name: str = "light-1", believes: str = "") -> bytes:
    """What a gateway hears from a machine, once each has verified the other one; `believes` where the machine trusts
    other authorities than the gateway does."""
    here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for context, file, authorities in ((here, gateway, trusts), (there, server, believes or trusts)):
        context.load_verify_locations(cadata=authorities)
        context.load_cert_chain(file)
    there.verify_mode = ssl.CERT_REQUIRED
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, there.wrap_socket(theirs, server_side=True) as served:
            served.sendall(b"RFB")

    with ThreadPoolExecutor(1) as threads, ours:
        serving = threads.submit(serve)
        try:
            with here.wrap_socket(ours, server_hostname=name) as connection:
                return connection.recv(10)
        finally:
            ours.close()
            serving.exception(10)


def test_keys_are_made_once_and_only_we_can_read_them(secrets: Path) -> None:
    """Whatever number of processes begins at once."""
    with ThreadPoolExecutor(8) as together:
        assert len(set(together.map(lambda _: desktop_ca.trusted(secrets), range(8)))) == 1
    login = desktop_ca.gateway_login(secrets)
    assert desktop_ca.gateway_login(secrets).read_bytes() == login.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o600}
    assert secrets.stat().st_mode & 0o077 == 0


def test_a_machine_is_certified_as_what_its_cloud_calls_it(secrets: Path) -> None:
    """Not as what it asks for."""
    names = certificate(machine(secrets)).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["light-1"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


@pytest.mark.parametrize("bad", ["rsa", "nothing", "tampered"])
def test_a_request_that_is_none_of_ours_is_not_signed(secrets: Path, bad: str) -> None:
    text = request(ec.generate_private_key(ec.SECP256R1()))
    lines = text.splitlines(keepends=True)
    texts = {
        "rsa": lambda: request(rsa.generate_private_key(65537, 2048)),
        "nothing": lambda: "hello",
        "tampered": lambda: "".join([*lines[:2], lines[2][::-1].strip() + "\n", *lines[3:]]),
    }
    with pytest.raises(InvalidRequest, match="light-1"):
        desktop_ca.sign_machine(secrets, texts[bad](), "light-1", "192.0.2.7")


MEETINGS: dict[str, tuple[Callable[[Path], tuple[str, Path, Path]], bool]] = {
    "both as they are": (lambda s: (desktop_ca.trusted(s), machine(s), desktop_ca.gateway_login(s)), True),
    "a machine as a gateway": (lambda s: (desktop_ca.trusted(s), machine(s), machine(s, "light-2")), False),
    "a gateway as a machine": (
        lambda s: (desktop_ca.trusted(s), desktop_ca.gateway_login(s), desktop_ca.gateway_login(s)),
        False,
    ),
    "another machine": (lambda s: (desktop_ca.trusted(s), machine(s, "light-2"), desktop_ca.gateway_login(s)), False),
    "another authority": (
        lambda s: (desktop_ca.trusted(s), machine(s), desktop_ca.gateway_login(s / "other")),
        False,
    ),
}


@pytest.mark.parametrize("case", MEETINGS)
def test_each_certificate_is_good_for_one_thing(secrets: Path, case: str) -> None:
    how, meets = MEETINGS[case]
    if meets:
        assert meet(*how(secrets)) == b"RFB"
    else:
        with pytest.raises(ssl.SSLError):
            meet(*how(secrets))


def test_a_gateways_certificate_lives_a_day_and_is_renewed_after_half_of_it(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then it is good for hours still, so nobody ever shows one that has ended."""
    first = certificate(desktop_ca.gateway_login(secrets))
    assert first.not_valid_after_utc - datetime.now(UTC) < timedelta(hours=24)

    class Later(datetime):
        hours = 0

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(hours=cls.hours)

    monkeypatch.setattr(desktop_ca, "datetime", Later)
    for Later.hours, renewed in ((11, False), (13, True)):
        assert (certificate(desktop_ca.gateway_login(secrets)) != first) == renewed


def test_the_authority_is_replaced_while_everybody_meets(secrets: Path) -> None:
    """In each step those who have been told meet those who have not; in the end the old one opens nothing."""
    old = desktop_ca.trusted(secrets)
    old_machine, old_gateway = machine(secrets), secrets / "old-gateway.pem"
    old_gateway.write_bytes(desktop_ca.gateway_login(secrets).read_bytes())
    assert desktop_ca.standing(secrets).step is Step.STEADY
    desktop_ca.begin(secrets)
    desktop_ca.begin(secrets)
    assert desktop_ca.standing(secrets).step is Step.BEGUN
    both = desktop_ca.trusted(secrets)
    assert meet(both, machine(secrets), desktop_ca.gateway_login(secrets), believes=old) == b"RFB"
    desktop_ca.switch(secrets)
    desktop_ca.switch(secrets)
    assert desktop_ca.standing(secrets).step is Step.SWITCHED
    assert "KEY" not in (secrets / "desktop_ca.old.pem").read_text()
    assert set(desktop_ca.trusted(secrets).split("-----")) == set(both.split("-----"))
    new_machine, new_gateway = machine(secrets, "light-1"), desktop_ca.gateway_login(secrets)
    assert meet(both, old_machine, new_gateway) == meet(both, new_machine, old_gateway) == b"RFB"
    desktop_ca.forget(secrets)
    new = desktop_ca.trusted(secrets)
    assert meet(new, new_machine, new_gateway) == b"RFB"
    for pair in ((old_machine, new_gateway), (new_machine, old_gateway)):
        with pytest.raises(ssl.SSLError):
            meet(new, *pair)
