"""Connection files: what clients read in them, and that no name can smuggle a setting in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connections import files

SSH: dict[str, Any] = {
    "session_id": 7,
    "address": "10.0.0.7",
    "host": "machine-3",
    "user": "alice",
    "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nQUJD\n-----END OPENSSH PRIVATE KEY-----\n",
    "certificate": "ssh-ed25519-cert-v01@openssh.com AAAA alice\n",
    "host_ca": "ssh-ed25519 BBBB hosts\n",
    "until": "2026-11-21 12:00 UTC",
}
RDP: dict[str, Any] = {
    "address": "desk.example:3389",
    "user": "alice",
    "password": "s3cret",
    "ticket": "t1cket_of-sixteen",
    "named_by_certificate": False,
}
HOSTILE = [
    "",
    "a b",
    "a\nProxyCommand evil",
    "a\r\nalternate shell:s:evil",
    "a\x1fb",
    'a"',
    "a'",
    "a;b",
    "$(b)",
    "a%h",
    "é",
]


def settings_of(text: str) -> dict[str, str]:
    """An .rdp file's settings, as a client reads them: a line each, name:type:value."""
    lines = text.split("\r\n")
    assert lines.pop() == ""
    return {":".join(line.split(":", 2)[:2]): line.split(":", 2)[2] for line in lines}


def test_an_rdp_file_opens_without_a_question() -> None:
    """It names the gateway and carries ticket, name and password; nothing of the user's own computer is offered."""
    found = settings_of(files.rdp(**RDP))
    assert found["full address:s"] == found["alternate full address:s"] == "desk.example:3389"
    assert found["loadbalanceinfo:s"] == "Cookie: msts=t1cket_of-sixteen"
    assert found["username:s"] == "alice\x1fs3cret"
    assert found["autoreconnection enabled:i"] == "0"
    assert found["prompt for credentials:i"] == "0"
    assert found["redirectclipboard:i"] == "1"
    assert found["redirectdrives:i"] == found["redirectprinters:i"] == "0"
    assert found["drivestoredirect:s"] == ""


def test_a_client_warns_of_another_certificate_where_there_is_a_right_one() -> None:
    """Machines' own certificates name no gateway: a warning of each would teach users to pass warnings over."""
    levels = [settings_of(files.rdp(**{**RDP, "named_by_certificate": right})) for right in (False, True)]
    assert [found["authentication level:i"] for found in levels] == ["0", "2"]


def test_no_rdp_setting_stands_twice() -> None:
    """Clients differ in which of two they take."""
    lines = files.rdp(**RDP).split("\r\n")[:-1]
    names = [line.split(":")[0] for line in lines]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["address", "user", "password", "ticket"])
def test_a_hostile_value_makes_no_rdp_file(name: str, value: str) -> None:
    """A line break or a separator in a name would be another setting, or another password."""
    with pytest.raises(ValueError, match="cannot stand in a connection file"):
        files.rdp(**{**RDP, name: value})


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["address", "host", "user"])
def test_a_hostile_value_makes_no_ssh_file(name: str, value: str) -> None:
    """A line break in a name would be another setting of ssh's, and ssh runs commands."""
    with pytest.raises(ValueError, match="cannot stand in a connection file"):
        files.ssh(**{**SSH, name: value})


@given(st.text(), st.text(), st.text(), st.text())
def test_a_file_has_its_own_settings_or_is_not_made(address: str, user: str, password: str, ticket: str) -> None:
    """Whatever the names are, the file has as many lines as it always has."""
    try:
        text = files.rdp(address=address, user=user, password=password, ticket=ticket, named_by_certificate=True)
    except ValueError:
        return
    assert len(text.split("\r\n")) == len(files.rdp(**RDP).split("\r\n"))


def test_an_ssh_file_asks_nothing_and_trusts_only_its_own_authority() -> None:
    """Hosts are known by certificates of the broker's authority, and by nothing that lies on the user's computer."""
    text = files.ssh(**SSH)
    found = dict(line.strip().split(" ", 1) for line in text.splitlines() if line.startswith("    "))
    assert found["HostName"] == "10.0.0.7"
    assert found["User"] == "alice"
    assert found["HostKeyAlias"] == "machine-3"
    assert found["KnownHostsCommand"] == "/bin/echo @cert-authority * ssh-ed25519 BBBB hosts"
    assert found["StrictHostKeyChecking"] == "yes"
    assert found["UserKnownHostsFile"] == found["GlobalKnownHostsFile"] == "/dev/null"
    assert found["PasswordAuthentication"] == found["KbdInteractiveAuthentication"] == "no"
    assert found["IdentityFile"] == '"%d/.ssh/beamdesk-7"'
    assert found["CertificateFile"] == '"%d/.ssh/beamdesk-7-cert.pub"'


def test_an_ssh_file_brings_its_key_where_only_its_owner_reads_it(tmp_path: Path) -> None:
    """The very command that ssh runs writes the key and its certificate, in a home that has no .ssh yet."""
    found = re.search(r'exec "(.+)"$', files.ssh(**SSH), re.M)
    assert found
    home = tmp_path / "a home"
    home.mkdir()
    for _ in range(2):  # a second use finds the files there
        subprocess.run(["sh", "-c", found[1].replace("%d", str(home))], check=True)
    key, certificate = home / ".ssh/beamdesk-7", home / ".ssh/beamdesk-7-cert.pub"
    assert key.read_text() == SSH["private_key"]
    assert certificate.read_text() == SSH["certificate"]
    assert [path.stat().st_mode & 0o777 for path in (key, key.parent)] == [0o600, 0o700]


def test_an_ssh_file_says_how_it_is_used() -> None:
    """Whoever opens it in an editor learns the command, and until when it works."""
    text = files.ssh(**SSH)
    assert "ssh -F beamdesk-7.conf desktop" in text
    assert SSH["until"] in text
