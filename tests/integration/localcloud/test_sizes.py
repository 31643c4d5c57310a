"""Sizes are held by control groups where the host has them, and where it has none the cloud says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.localcloud import cgroups
from tests.integration.localcloud.daemon import Daemon, Machine, MakeDaemon
from tests.waiting import until

pytestmark = pytest.mark.machines

FILES = {
    "v1": {
        "cpu.cfs_quota_us": "100000",
        "cpu.cfs_period_us": "100000",
        "memory.limit_in_bytes": str(256 << 20),
        "pids.max": str(cgroups.PROCESSES),
    },
    "v2": {"cpu.max": "100000 100000", "memory.max": str(256 << 20), "pids.max": str(cgroups.PROCESSES)},
}


@pytest.fixture
def kind(cloud: Daemon) -> str:
    """Which control groups this host has, as the cloud says."""
    kind = str(cloud.ask("GET", "/v1")[1]["cgroup"])
    assert kind == cgroups.version()
    if kind == "none":
        pytest.skip("this host has no control groups that we may use")
    return kind


def test_the_limits_are_set_and_all_processes_are_under_them(cloud: Daemon, machine: Machine, kind: str) -> None:
    groups = cgroups.groups(cloud.family, machine.id)
    for name, value in FILES[kind].items():
        assert [(group / name).read_text().strip() for group in groups if (group / name).exists()] == [value]
    machine.says("true")
    for process in machine.processes():
        lines = (process / "cgroup").read_text().splitlines()
        ours = [line for line in lines if line.endswith(f":/{cloud.family}/{machine.id}")]
        assert len(ours) == len(groups), process


def test_memory_over_the_limit_is_killed_inside_and_the_machine_lives_on(other: Machine, kind: str) -> None:
    killed = other.run("python3 -c \"b'x' * (1 << 30)\"; echo ended with $?")
    assert b"ended with 137" in killed.stdout
    assert other.says("cat /proc/1/comm") == "sshd"
    assert other.daemon.state_of(other.id) == "running"


def test_a_full_disk_is_full_and_no_more(other: Machine) -> None:
    full = other.run("head -c 200M /dev/zero > /var/tmp/fill")
    assert b"No space left on device" in full.stderr
    assert other.fails("echo more > /tmp/more && grep more /tmp/more")
    other.says("rm /var/tmp/fill; echo more > /tmp/more")
    assert other.daemon.state_of(other.id) == "running"


def test_no_folder_that_everybody_may_write_to_takes_more_than_its_share(machine: Machine) -> None:
    lines = machine.says("df -BM --output=target,size / /tmp /run /dev /dev/shm /home").splitlines()[1:]
    assert {name: int(size[:-1]) for name, size in map(str.split, lines)} == {
        "/": 128,
        "/run": 64,
        "/dev": 1,
        "/dev/shm": 128,
        "/home": 16,
    }


def test_a_host_without_control_groups_says_so_and_still_makes_machines(own_cloud: MakeDaemon) -> None:
    hide = 'mount -t tmpfs tmpfs /sys/fs/cgroup && exec "$@"'
    cloud = own_cloud(prefix=("unshare", "--mount", "sh", "-c", hide, "sh")).start()
    assert cloud.ask("GET", "/v1")[1]["cgroup"] == "none"
    machine = cloud.machine()
    assert machine.says("hostname") == "m"
    assert cloud.family not in Path(f"/proc/{machine.init}/cgroup").read_text()
    cloud.destroy(machine.node)
    until(lambda: not cloud.leftovers(), "nothing to be left")
