"""What the SSH gateway tells sshd, and what it makes of sshd's words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateways import sshd
from broker.sessions.certificates import Live

CAME = (
    "Accepted publickey for beamdesk from 10.0.0.9 port 50924 ssh2: ED25519-CERT "
    "SHA256:iBLN7pPz9tWgO1xFo2tVPh8aVX3bSBvmVdNwmnE0jC4 ID alice in session 7 (serial 12) "
    "CA ED25519 SHA256:s0dDyjPRu9S4JWk9DvdTYd0cqDqD5nWVS4ZcBHj1dTA\r\n"
)


def test_who_came_in_is_known_by_the_certificates_serial() -> None:
    assert sshd.accepted(CAME) == 12


@pytest.mark.parametrize(
    "message",
    [
        f"Invalid user x\n{CAME}",
        f"Invalid user x\r\n{CAME.strip()} from 10.0.0.9 port 1\r\n",
        CAME.replace("\r\n", " [preauth]\r\n"),
        CAME.replace("Accepted", "Failed"),
        CAME.replace("-CERT", "").replace("ID alice in session 7 (serial 12) ", ""),
        CAME + CAME,
        "",
    ],
)
def test_what_a_client_says_of_itself_is_no_word_of_sshds(message: str) -> None:
    assert sshd.accepted(message) is None


@given(st.text(), st.text())
def test_no_message_with_something_around_it_counts(before: str, after: str) -> None:
    """Nor does any break it."""
    message = f"{before} {CAME.strip()} {after}"
    assert sshd.accepted(message) is None


def test_each_certificate_has_one_place_to_go_to() -> None:
    """And nothing else is allowed by its line."""
    assert sshd.principals([Live(12, "10.0.0.7", 22), Live(13, "fd00::7", 10022)]) == (
        'restrict,port-forwarding,permitopen="10.0.0.7:22",command="/bin/false" certificate-12\n'
        'restrict,port-forwarding,permitopen="[fd00::7]:10022",command="/bin/false" certificate-13\n'
    )
    assert sshd.principals([]) == ""


def test_sshd_has_the_configuration_that_was_meant(tmp_path: Path) -> None:
    """As OpenSSH itself reads it, in a folder with a space and a per cent sign in its name."""
    folder = tmp_path / "a 100% folder"
    folder.mkdir()
    secrets = folder / "secrets"
    path = sshd.configure(folder, secrets, "beamdesk")
    line = [*sshd.command(path, folder / "7"), "-T"]
    line.remove("-i")
    line.remove("-e")
    shown = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    found = dict(row.split(" ", 1) for row in shown.splitlines() if " " in row)
    closed = ("allowagentforwarding", "allowstreamlocalforwarding", "x11forwarding", "permittunnel", "permittty")
    assert {found[name] for name in closed} == {"no"}
    assert found["allowtcpforwarding"] == "local"
    assert found["maxsessions"] == "0"
    assert found["authenticationmethods"] == "publickey"
    assert found["passwordauthentication"] == found["kbdinteractiveauthentication"] == found["usepam"] == "no"
    assert found["authorizedkeysfile"] == "none"
    assert found["trustedusercakeys"] == str(secrets / "user_ca.trusted")
