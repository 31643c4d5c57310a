"""What a machine's root sees of its host and of other machines: nothing that it is not meant to see."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agents.localcloud.inside import CAPABILITIES
from agents.protocol import VNC_DOOR
from tests.integration.localcloud.daemon import Daemon, Machine
from tests.waiting import until

pytestmark = pytest.mark.machines

# The kernel's numbers (linux/capability.h) of what a machine may have.
ALLOWED = {
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "fsetid": 4,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,
    "net_bind_service": 10,
    "sys_chroot": 18,
    "audit_write": 29,
}


def test_the_hosts_password_hashes_are_not_there(machine: Machine) -> None:
    fields = [line.split(":")[1] for line in machine.says("cat /etc/shadow /etc/gshadow").splitlines()]
    assert set(fields) == {"*"}
    assert machine.fails("ls /etc/shadow- /etc/gshadow- /etc/security/opasswd /etc/ssl/private")


def test_what_the_host_keeps_private_in_etc_later_stays_private_too(machine: Machine) -> None:
    later = Path(f"/etc/beamdesk-test-{os.getpid()}")
    try:
        later.write_text("a new shadow file")
        later.chmod(0o600)
        assert machine.fails(f"cat {later}")
    finally:
        later.unlink()


def test_the_hosts_ssh_keys_are_not_there(machine: Machine) -> None:
    assert machine.says("ls /etc/ssh | grep host") == "ssh_host_ed25519_key\nssh_host_ed25519_key.pub"
    assert machine.says("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2] == machine.node["host_key"].split()[:2]
    for key in Path("/etc/ssh").glob("ssh_host_*.pub"):
        assert key.read_text().split()[1] not in machine.node["host_key"]


def test_two_machines_have_keys_and_ids_of_their_own(machine: Machine, other: Machine) -> None:
    for file in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key"):
        assert machine.says(f"cat {file}") != other.says(f"cat {file}")


def test_root_and_home_are_empty_and_the_hosts_people_are_not_there(machine: Machine) -> None:
    assert machine.says("ls -A /root /home /srv /mnt /media /opt") == "\n\n".join(
        f"/{name}:" for name in ("home", "media", "mnt", "opt", "root", "srv")
    )
    people = [line.split(":") for line in machine.says("cat /etc/passwd").splitlines()]
    assert [person[0] for person in people if int(person[2]) >= 1000] == ["nobody"]
    assert machine.fails("ls /etc/passwd- /etc/group-")


def test_files_of_the_cloud_and_of_other_machines_are_nowhere(cloud: Daemon, machine: Machine, other: Machine) -> None:
    cloud.ask("POST", "/v1/volumes", {"name": "volume-of-other", "owner": 20001})
    status, _ = cloud.ask("POST", f"/v1/nodes/{other.id}/volumes", {"volume": "volume-of-other", "path": "/home/eve"})
    assert status == 200
    other.says("echo secret > /var/tmp/file-of-other; echo secret > /home/eve/file-on-volume")
    (cloud.folder / "file-of-host").touch()
    names = ["file-of-other", "file-on-volume", "file-of-host", "eve", "node.json", cloud.socket.name, cloud.state.name]
    tests = " -o ".join(f"-name '{name}'" for name in names)
    search = f"find / -path /proc -prune -o -path /usr -prune -o \\( {tests} \\) -print"
    assert machine.says(search) == ""
    assert sorted(other.says(search).splitlines()) == [
        "/home/eve",
        "/home/eve/file-on-volume",
        "/var/tmp/file-of-other",
    ]


def test_a_machine_has_its_own_name_address_and_processes(machine: Machine) -> None:
    assert machine.says("hostname; cat /etc/hostname") == "looked-at\nlooked-at"
    addresses = machine.says("ip -o addr show | awk '{print $2, $4}'").splitlines()
    assert addresses == ["lo 127.0.0.1/8", "lo ::1/128", f"eth0 {machine.address}/25"]
    assert set(machine.says("ps -eo comm=").split()) <= {"sshd", "sh", "ps"}
    assert machine.says("cat /proc/1/comm") == "sshd"
    for kind in ("net", "mnt", "pid", "uts", "ipc"):
        assert os.readlink(f"/proc/{machine.init}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


def test_capabilities_are_the_allowed_ones_and_no_more(machine: Machine) -> None:
    assert set(CAPABILITIES) == set(ALLOWED)
    mask = sum(1 << number for number in ALLOWED.values())
    for process in ("1", "self"):
        sets = dict(line.split(":\t") for line in machine.says(f"grep ^Cap /proc/{process}/status").splitlines())
        assert {name: int(value, 16) for name, value in sets.items()} == {
            "CapInh": 0,
            "CapPrm": mask,
            "CapEff": mask,
            "CapBnd": mask,
            "CapAmb": 0,
        }


@pytest.mark.parametrize(
    "deed",
    [
        "mount -t tmpfs tmpfs /mnt",
        "mount -o remount,rw /proc/sys",
        "umount /proc/sys",
        "mknod /tmp/disk b 8 0",
        "mknod /tmp/memory c 1 1",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo host > /proc/sys/kernel/hostname",
        "hostname other",
        "echo h > /proc/sysrq-trigger && grep -q . /proc/sysrq-trigger",
        "ip link set eth0 down",
        "ip addr add 10.231.50.9/25 dev eth0",
        "ip route add default dev eth0",
        "nft flush ruleset",
        "nsenter --mount=/proc/1/ns/mnt true",
        "date -s now",
        "unshare --mount true",
        "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
        "unshare -Urm mount -o remount,bind,rw /proc/sys",
        "unshare -Urm umount /proc/sys",
        "unshare -Urmpf mount -t proc proc /mnt",
        "unshare -Urmn mount -t sysfs sysfs /mnt",
    ],
)
def test_a_machines_root_may_not(machine: Machine, deed: str) -> None:
    assert machine.fails(deed)


def test_there_is_no_raw_device_and_nothing_of_the_host_behind_sys_and_proc(machine: Machine) -> None:
    kinds = machine.says("cd /dev; stat -c '%F:%n' $(find . -not -path './pts/*' -printf '%P ')").splitlines()
    devices = [kind.rpartition(":")[2] for kind in kinds if "special" in kind]
    assert sorted(devices) == ["full", "null", "random", "tty", "urandom", "zero"]
    assert machine.says("ls -A /sys") == ""
    for name in ("kcore", "kmsg", "timer_list", "slabinfo", "vmallocinfo", "kpageflags", "mtrr", "keys"):
        assert machine.says(f"head -c 64 /proc/{name} 2> /dev/null; true") == "", name
    others = "-path '/proc/[0-9]*' -o -path /proc/sys -o -path /proc/self -o -path /proc/thread-self"
    assert machine.says(f"find /proc \\( {others} \\) -prune -o -type f -perm /222 ! -samefile /dev/null -print") == ""


def test_the_daemons_socket_cannot_be_reached(cloud: Daemon, machine: Machine) -> None:
    assert machine.fails(f"ls '{cloud.socket}'")
    assert str(cloud.socket) in Path("/proc/net/unix").read_text()
    assert str(cloud.socket) not in machine.says("cat /proc/net/unix")


@pytest.fixture
def listener() -> Iterator[tuple[socket.socket, int]]:
    """A service of the host that listens everywhere, with TCP and UDP on one port."""
    with closing(socket.create_server(("", 0))) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind(("", port))
        udp.settimeout(0.2)
        yield udp, port


def connects(address: str, port: int) -> str:
    """A command that succeeds where a connection is made within a second."""
    return f"timeout 1 bash -c 'exec 3<> /dev/tcp/{address}/{port}'"


def test_the_host_reaches_a_machine_but_a_machine_begins_nothing(
    machine: Machine, other: Machine, listener: tuple[socket.socket, int]
) -> None:
    udp, port = listener
    host = "10.231.50.1"
    assert subprocess.run(connects(host, port), shell=True).returncode == 0  # noqa: S602 - the very same command
    assert subprocess.run(connects(machine.address, 22), shell=True).returncode == 0  # noqa: S602
    both = f"{connects(host, port)} & first=$!; {connects(other.address, 22)} & second=$!"
    assert machine.says(f"{both}; wait $first || wait $second || echo neither") == "neither"
    assert machine.says("ip route") == f"10.231.50.0/25 dev eth0 proto kernel scope link src {machine.address}"
    assert machine.says("ip -6 route show dev eth0") == ""
    hello = f"bash -c 'echo hello > /dev/udp/{host}/{port}'"
    machine.says(hello)
    with pytest.raises(TimeoutError):
        udp.recv(100)
    assert subprocess.run(hello, shell=True).returncode == 0  # noqa: S602
    assert udp.recv(100) == b"hello\n"


def test_of_what_a_machine_serves_the_host_reaches_ssh_and_the_doors_alone(other: Machine) -> None:
    """As on every cloud: a user's notebook that listens everywhere is nobody else's."""
    for port in (8000, VNC_DOOR):
        program = f"import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port={port})"
        other.says(f"cd /usr/share; python3 -c '{program}' > /dev/null 2>&1 < /dev/null & true")
    until(lambda: not other.fails("curl -so /dev/null http://127.0.0.1:8000/"), "the machine's web server")

    def served(port: int) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://{other.address}:{port}/", timeout=1) as answer:
            return bool(answer.status == 200)
        return False

    until(lambda: served(VNC_DOOR), "what is in a door's place")
    assert not served(8000)


def test_a_link_that_a_machine_leaves_for_a_home_is_not_followed(cloud: Daemon, other: Machine) -> None:
    outside = cloud.folder / "outside"
    outside.mkdir()
    other.says(f"ln -s '{outside}' /home/mallory; touch /home/file")
    cloud.ask("POST", "/v1/volumes", {"name": "of-mallory", "owner": 20002})
    for name in ("mallory", "file"):
        wish = {"volume": "of-mallory", "path": f"/home/{name}"}
        status, problem = cloud.ask("POST", f"/v1/nodes/{other.id}/volumes", wish)
        assert (status, problem["error"]["code"]) == (409, "bad-path")
    assert not os.path.ismount(outside)
    assert cloud.ask("DELETE", "/v1/volumes/of-mallory")[0] == 204
