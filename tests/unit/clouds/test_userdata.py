"""What a machine is told at its first boot, and what its console tells of its keys."""

from __future__ import annotations

import json

import pytest

from broker.clouds.userdata import cloud_config, host_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHdVgXQnBrGjFNzWcGeJ2dTBMyKVfwPYzp1PcDfBz5bA"
# As cloud-init's keys-to-console prints it on Debian 12.
CONSOLE = f"""\
[   12.345678] cloud-init[512]: Cloud-init v. 22.4.2 running 'modules:final'
-----BEGIN SSH HOST KEY KEYS-----
ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA== root@light-1
{KEY} root@light-1
-----END SSH HOST KEY KEYS-----
[   12.5] cloud-init[512]: finished
"""


def test_the_first_line_is_cloud_inits_and_the_rest_its_yaml() -> None:
    first, _, rest = cloud_config(f"{KEY} authority\n").partition("\n")
    assert first == "#cloud-config"
    files = {file["path"]: file["content"] for file in json.loads(rest)["write_files"]}
    assert files["/etc/ssh/beamdesk_ca.pub"] == f"{KEY} authority\n"
    assert files["/etc/ssh/beamdesk_principals"] == "beamdesk-broker\n"
    assert "TrustedUserCAKeys /etc/ssh/beamdesk_ca.pub" in files["/etc/ssh/sshd_config.d/00-beamdesk.conf"]
    assert "PRIVATE" not in rest


@pytest.mark.parametrize(
    "console", [CONSOLE, CONSOLE.replace("\n", "\r\n"), CONSOLE.replace(KEY, "ssh-rsa AA") + CONSOLE]
)
def test_the_last_boots_key_is_read_from_the_console(console: str) -> None:
    assert host_key(console) == KEY


@pytest.mark.parametrize(
    "console",
    [
        "",
        "FAKE CONSOLE OUTPUT\nANOTHER\nLAST LINE",
        CONSOLE.partition("-----END")[0],
        CONSOLE.replace(KEY, "ssh-ed25519 !"),
        KEY,
    ],
)
def test_no_key_is_taken_from_anywhere_else(console: str) -> None:
    assert host_key(console) is None
