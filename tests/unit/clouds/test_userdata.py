"""What a machine is told at its first boot, and what its console tells of its keys."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from broker.clouds.dialling import CONFIG, KNOWN_HOSTS, dial
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


def test_a_machine_that_nobody_reaches_is_told_whom_to_dial_and_nothing_secret(tmp_path: Path) -> None:
    """OpenSSH itself reads what it is told; systemd dials again, whatever ends it."""
    made = dial("desks.example:2200", "beamdesk", "beamdesk-gateway", f"{KEY} hosts\n{KEY} next", "127.80.0.7")
    told = json.loads(cloud_config(KEY, "echo last", dial=made).partition("\n")[2])
    files = {file["path"]: file["content"] for file in told["write_files"]}
    (tmp_path / "ssh_config").write_text(files[CONFIG])
    read = subprocess.run(["ssh", "-G", "-F", str(tmp_path / "ssh_config"), "tunnel"], capture_output=True, text=True)
    lines = read.stdout.splitlines()
    for line in ("hostname desks.example", "port 2200", "user beamdesk", "stricthostkeychecking true"):
        assert line in lines
    assert "remoteforward [127.80.0.7]:10022 [127.0.0.1]:22" in lines
    assert {"identityfile /etc/ssh/ssh_host_ed25519_key", "exitonforwardfailure yes"} < set(lines)
    assert files[KNOWN_HOSTS] == f"@cert-authority beamdesk-gateway {KEY} hosts\n" + (
        f"@cert-authority beamdesk-gateway {KEY} next\n"
    )
    assert "Restart=always" in files["/etc/systemd/system/beamdesk-tunnel.service"]
    assert told["runcmd"][-1][-1].endswith("systemctl restart beamdesk-tunnel")
    assert "PRIVATE" not in json.dumps(told)


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
