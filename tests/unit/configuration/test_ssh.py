"""How ssh is called: the machine's key pinned, nothing of the account's own configuration, and sockets that fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.configuration import ssh
from broker.configuration.ssh import SshTarget
from broker.errors import MachineUnreachable

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYoXbf6X7QKpOLKjUUyPSlvhJwvfgr49M5OUUX4v2bv comment"


def target(host_key: str = KEY, address: str = "192.0.2.7") -> SshTarget:
    return SshTarget(address=address, host_key=host_key, name="m1")


def test_the_machines_key_is_pinned_and_no_other_file_is_believed(tmp_path: Path) -> None:
    options = ssh.options(tmp_path, target())
    assert f"KnownHostsCommand=/bin/echo machine {KEY.removesuffix(' comment')}" in options
    for setting in ("StrictHostKeyChecking=yes", "UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null"):
        assert setting in options
    assert options[:2] == ["-F", "none"]


@pytest.mark.parametrize("key", ["", "ssh-ed25519", "ssh-ed25519 $(reboot)", "-oProxyCommand=x AAAA", "%h AAAA"])
def test_a_host_key_that_is_none_is_refused_before_anything_runs(tmp_path: Path, key: str) -> None:
    with pytest.raises(MachineUnreachable, match="no usable host key"):
        ssh.options(tmp_path, target(key))


def test_another_machine_at_the_same_address_gets_a_connection_of_its_own(tmp_path: Path) -> None:
    other = KEY.replace("bv comment", "bw")
    assert ssh._control_path(tmp_path, target()) != ssh._control_path(tmp_path, target(other))


def test_a_long_state_folder_still_gives_a_socket_that_fits(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 60) / ("y" * 60)
    path = ssh._control_path(long, target())
    assert len(str(path)) <= 86
    assert path.parent.stat().st_mode & 0o077 == 0
    assert ssh._control_path(long, target()) == path
    path.parent.rmdir()


def test_closing_connections_that_never_were_is_no_error(tmp_path: Path) -> None:
    ssh.close_all(tmp_path)
