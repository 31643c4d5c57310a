"""The certificate authorities: what a certificate allows, how long it lives, and keys that nobody else can read."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from broker.configuration import ca
from broker.errors import InvalidRequest


@pytest.fixture
def public_key(tmp_path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "alice"], check=True)
    return (tmp_path / "alice.pub").read_text()


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def read(certificate: str | Path) -> SSHCertificate:
    text = certificate.read_text() if isinstance(certificate, Path) else certificate
    identity = load_ssh_public_identity(text.encode())
    assert isinstance(identity, SSHCertificate)
    return identity


def sign(secrets: Path, public_key: str, *, hours: float = 1, options: tuple[str, ...] = ()) -> SSHCertificate:
    return read(
        ca.sign_user(
            secrets,
            public_key,
            principals=["session-42"],
            valid_until=in_hours(hours),
            key_id="alice, session 42",
            options=options,
        )
    )


def test_keys_are_made_once_and_only_we_can_read_them(tmp_path: Path) -> None:
    keys = ca.trusted(tmp_path / "secrets")
    assert ca.trusted(tmp_path / "secrets") == keys
    assert keys.users != keys.hosts
    assert keys.users.startswith("ssh-ed25519 ")
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert (tmp_path / "secrets" / "user_ca").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_together_agree_on_the_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as together:
        keys = set(together.map(lambda _: ca.trusted(tmp_path / "secrets"), range(8)))
    assert len(keys) == 1
    private = subprocess.run(
        ["ssh-keygen", "-y", "-f", tmp_path / "secrets" / "user_ca"], capture_output=True, text=True, check=True
    )
    assert private.stdout.split()[:2] == keys.pop().users.split()[:2]
    assert sorted(os.listdir(tmp_path / "secrets")) == ["host_ca", "host_ca.pub", "user_ca", "user_ca.pub"]


def test_a_lost_public_half_is_made_again(tmp_path: Path) -> None:
    keys = ca.trusted(tmp_path / "secrets")
    (tmp_path / "secrets" / "user_ca.pub").unlink()
    assert ca.trusted(tmp_path / "secrets").users.split()[:2] == keys.users.split()[:2]


def test_a_users_certificate_names_the_session_and_allows_only_what_was_asked(tmp_path: Path, public_key: str) -> None:
    certificate = sign(tmp_path / "secrets", public_key, options=("permit-pty", "source-address=192.0.2.0/24"))
    assert certificate.valid_principals == [b"session-42"]
    assert certificate.key_id == b"alice, session 42"
    assert certificate.extensions == {b"permit-pty": b""}
    assert set(certificate.critical_options) == {b"source-address"}
    certificate.verify_cert_signature()


def test_a_certificate_ends_with_the_session_and_begins_a_minute_early(tmp_path: Path, public_key: str) -> None:
    certificate = sign(tmp_path / "secrets", public_key, hours=2)
    now = datetime.now(UTC).timestamp()
    assert -75 < certificate.valid_after - now < -45
    assert abs(certificate.valid_before - now - 7200) < 5


def test_nothing_is_signed_for_a_session_that_has_ended(tmp_path: Path, public_key: str) -> None:
    with pytest.raises(InvalidRequest, match="has ended"):
        sign(tmp_path / "secrets", public_key, hours=-0.01)


def test_what_is_no_public_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="ssh-keygen"):
        sign(tmp_path / "secrets", "ssh-ed25519 nonsense")


def test_a_machines_certificate_is_good_for_its_name_and_address(tmp_path: Path, public_key: str) -> None:
    keys = ca.trusted(tmp_path / "secrets")
    certificate = read(ca.sign_host(tmp_path / "secrets", public_key, ["m1", "10.0.0.7"]))
    assert certificate.valid_principals == [b"m1", b"10.0.0.7"]
    assert certificate.signature_key() == load_ssh_public_identity(keys.hosts.encode())


def test_the_brokers_login_is_kept_while_it_is_young(tmp_path: Path) -> None:
    login = ca.broker_login(tmp_path / "secrets")
    first = login.certificate.read_text()
    assert read(first).valid_principals == [b"beamdesk-broker"]
    assert ca.broker_login(tmp_path / "secrets").certificate.read_text() == first


def test_the_brokers_login_is_renewed_before_it_ends(tmp_path: Path) -> None:
    login = ca.broker_login(tmp_path / "secrets")
    old = ca.sign_user(
        tmp_path / "secrets",
        login.key.with_suffix(".pub").read_text(),
        principals=["beamdesk-broker"],
        valid_until=in_hours(11),
        key_id="old",
    )
    login.certificate.write_text(old)
    ca.broker_login(tmp_path / "secrets")
    assert read(login.certificate).valid_before > in_hours(23).timestamp()


def test_the_brokers_login_is_renewed_when_the_authority_was_replaced(tmp_path: Path) -> None:
    login = ca.broker_login(tmp_path / "secrets")
    for name in ("user_ca", "user_ca.pub"):
        (tmp_path / "secrets" / name).unlink()
    keys = ca.trusted(tmp_path / "secrets")
    ca.broker_login(tmp_path / "secrets")
    assert read(login.certificate).signature_key() == load_ssh_public_identity(keys.users.encode())


@pytest.mark.parametrize("content", ["", "ssh-ed25519 AAAA", "half of a certi"])
def test_a_broken_certificate_file_is_replaced(tmp_path: Path, content: str) -> None:
    login = ca.broker_login(tmp_path / "secrets")
    login.certificate.write_text(content)
    ca.broker_login(tmp_path / "secrets")
    assert read(login.certificate).valid_principals == [b"beamdesk-broker"]


def test_the_gateways_host_key_is_kept_and_its_certificate_renewed_with_the_authority(tmp_path: Path) -> None:
    """It is of the gateway and of no machine."""
    first = ca.gateway_host(tmp_path)
    shown = first.certificate.read_text()
    assert read(first.certificate).valid_principals == [b"beamdesk-gateway"]
    assert first.key.stat().st_mode & 0o777 == 0o600
    assert ca.gateway_host(tmp_path).certificate.read_text() == shown
    key = first.key.read_text()
    for name in ("host_ca", "host_ca.pub"):
        (tmp_path / name).unlink()
    again = ca.gateway_host(tmp_path)
    assert again.key.read_text() == key
    assert read(again.certificate).signature_key() != read(shown).signature_key()
