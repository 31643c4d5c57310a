"""Connection files: what clients read in them, and that no name can smuggle a setting in."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connections import files
from broker.connections.files import Gateway

SSH: dict[str, Any] = {
    "session_id": 7,
    "address": "10.0.0.7",
    "port": 10022,
    "host": "machine-3",
    "user": "alice",
    "gateway": Gateway("desks.example.org", 2222, "beamdesk", "beamdesk-gateway"),
    "certificate": "ssh-ed25519-cert-v01@openssh.com AAAA alice\n",
    "host_cas": "ssh-ed25519 BBBB hosts\n",
    "until": "2026-11-21 12:00 UTC",
    "own_key": True,
}
RDP: dict[str, Any] = {
    "address": "desk.example:3389",
    "user": "alice",
    "password": "s3cret",
    "ticket": "t1cket_of-sixteen",
    "named_by_certificate": False,
    "clipboard": True,
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
    assert settings_of(files.rdp(**{**RDP, "clipboard": False}))["redirectclipboard:i"] == "0"
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
        text = files.rdp(
            address=address, user=user, password=password, ticket=ticket, named_by_certificate=True, clipboard=True
        )
    except ValueError:
        return
    assert len(text.split("\r\n")) == len(files.rdp(**RDP).split("\r\n"))


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["host", "account", "name"])
def test_a_hostile_gateway_makes_no_ssh_file(name: str, value: str) -> None:
    """Its line is run by a shell."""
    with pytest.raises(ValueError, match="cannot stand in a connection file"):
        files.ssh(**{**SSH, "gateway": replace(SSH["gateway"], **{name: value})})


def options_of(text: str) -> list[dict[str, str]]:
    """What ssh is told of the machine, and of the gateway."""
    settings = dict(line.strip().split(" ", 1) for line in text.splitlines() if line.startswith("    "))
    words = shlex.split(settings["ProxyCommand"])
    return [settings, dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "-o")]


def test_an_ssh_file_asks_nothing_and_trusts_only_its_own_authority() -> None:
    """Both hosts on the way are known by certificates of the broker's authority, and by nothing that lies on the
    user's computer."""
    for found, alias in zip(options_of(files.ssh(**SSH)), ("machine-3", "beamdesk-gateway"), strict=True):
        assert found["HostKeyAlias"] == alias
        assert found["KnownHostsCommand"] == "/bin/echo @cert-authority * ssh-ed25519 BBBB"
        assert found["StrictHostKeyChecking"] == "yes"
        assert found["UserKnownHostsFile"] == found["GlobalKnownHostsFile"] == "/dev/null"
        assert found["PasswordAuthentication"] == found["KbdInteractiveAuthentication"] == "no"
        assert found["IdentityFile"] == "~/.ssh/beamdesk-7"
        assert found["CertificateFile"] == "~/.ssh/beamdesk-7-cert.pub"
        assert found["IdentitiesOnly"] == "yes"


def test_an_ssh_file_leads_through_the_gateway() -> None:
    """To the machine's own address, as its own user."""
    settings, _ = options_of(files.ssh(**SSH))
    words = shlex.split(settings["ProxyCommand"])
    assert words[:7] == ["ssh", "-F", "none", "-l", "beamdesk", "-p", "2222"]
    assert words[-3:] == ["-W", "[%h]:%p", "desks.example.org"]
    assert (settings["HostName"], settings["Port"], settings["User"]) == ("10.0.0.7", "10022", "alice")


def test_an_ssh_file_for_a_registered_key_looks_where_ssh_always_does() -> None:
    """In the agent, and under the usual names."""
    for found in options_of(files.ssh(**{**SSH, "own_key": False})):
        assert not {"IdentityFile", "IdentitiesOnly"} & set(found)


def test_an_ssh_file_brings_its_certificate_where_only_its_owner_reads_it(tmp_path: Path) -> None:
    """The very command that ssh runs writes it, in a home that has no .ssh yet, and not again where it is there."""
    found = re.search(r'exec "(.+)"$', files.ssh(**SSH), re.M)
    assert found
    home = tmp_path / "a home"
    home.mkdir()
    certificate, written = home / ".ssh/beamdesk-7-cert.pub", set()
    for _ in range(2):
        subprocess.run(["sh", "-c", found[1].replace("%d", str(home))], check=True)
        written.add(certificate.stat().st_mtime_ns)
    assert certificate.read_text() == SSH["certificate"]
    assert [path.stat().st_mode & 0o777 for path in (certificate, certificate.parent)] == [0o600, 0o700]
    assert len(written) == 1
    certificate.write_text("of another session 7")
    subprocess.run(["sh", "-c", found[1].replace("%d", str(home))], check=True)
    assert certificate.read_text() == SSH["certificate"]


def test_an_ssh_file_says_how_it_is_used() -> None:
    """Whoever opens it in an editor learns the command, and until when it works."""
    text = files.ssh(**SSH)
    assert "ssh -F beamdesk-7.conf desktop" in text
    assert SSH["until"] in text


def test_an_ssh_file_is_read_by_openssh(tmp_path: Path) -> None:
    """Every line of it, as `ssh -G` shows."""
    file = tmp_path / "a file (1).conf"
    file.write_text(files.ssh(**SSH).replace("%d", str(tmp_path)))
    shown = subprocess.run(["ssh", "-G", "-F", str(file), "desktop"], capture_output=True, text=True, check=True)
    assert "hostkeyalias machine-3" in shown.stdout
    assert "proxycommand ssh -F none" in shown.stdout
