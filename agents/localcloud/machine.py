"""Making and unmaking one machine. Every step may find that an earlier try did it already."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agents.localcloud import cgroups
from agents.localcloud.config import CloudError, Size

ROOT = Path(__file__).resolve().parents[2]
FIREWALL = ROOT / "ansible/roles/firewall/files/root/etc/beamdesk/firewall.nft"
STARTS_WITHIN = 30.0
ENDS_WITHIN = 10.0

# What a machine may send to its host: ARP, ping, and answers to a connection that the host began (no TCP packet with
# SYN and without ACK). Classic BPF over the Ethernet frame, as `tc` takes it; 0 lets the packet pass, 2 drops it.
ONLY_ANSWERS = [
    "40 0 0 12",  # the frame's protocol
    "21 8 0 2054",  # ARP: pass
    "21 0 8 2048",  # not IPv4: drop
    "48 0 0 23",  # IPv4's protocol
    "21 5 0 1",  # ICMP: pass
    "21 0 5 6",  # not TCP: drop
    "177 0 0 14",  # skip the IPv4 header
    "80 0 0 27",  # TCP's flags
    "84 0 0 18",  # of them SYN and ACK
    "21 1 0 2",  # SYN alone: drop
    "6 0 0 0",
    "6 0 0 2",
]
# What may be sent to a machine that nobody reaches: all but the beginning of a TCP connection.
NOTHING_BEGUN = [
    "40 0 0 12",
    "21 0 6 2048",  # not IPv4: pass
    "48 0 0 23",
    "21 0 4 6",  # not TCP: pass
    "177 0 0 14",
    "80 0 0 27",
    "84 0 0 18",
    "21 1 0 2",  # SYN alone: drop
    "6 0 0 0",
    "6 0 0 2",
]


def run(*words: str | Path, check: bool = True, text: str | None = None) -> str:
    """Run a program of the host with `text` as its input; its output, or CloudError with what it said."""
    done = subprocess.run([str(word) for word in words], input=text, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise CloudError(500, "host", f"{' '.join(map(str, words))}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def new_host_key(folder: Path) -> tuple[str, str]:
    """A fresh Ed25519 host key: private and public part."""
    path = folder / "host_key"
    path.unlink(missing_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path)
    private, public = path.read_text(), path.with_suffix(".pub").read_text().strip()
    path.unlink()
    path.with_suffix(".pub").unlink()
    return private, public


def make_records(folder: Path) -> None:
    """The folder of the machines' records, in memory: they need not outlive the host's run, for machines do not, and
    a disk that is slow with other things holds up no machine."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if not os.path.ismount(folder):
        run("mount", "-t", "tmpfs", "-o", "mode=700,size=64m,nosuid,nodev,noexec", "beamdesk-nodes", folder)


@dataclass(frozen=True)
class Cable:
    """How a machine is in its cloud's network. Where it `dials` (an address and port of its host), nobody may begin a
    connection to it, and it may begin that one."""

    bridge: str
    subnet: ipaddress.IPv4Network
    address: str
    dials: str | None = None


def start(folder: Path, family: str, cable: Cable, size: Size) -> int:
    """Start the machine that `folder`/spec.json describes; the host's process id of its init."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    if not os.path.ismount(home):
        run("mount", "-t", "tmpfs", "-o", "mode=755,size=16m,nosuid,nodev", "beamdesk-home", home)
        run("mount", "--make-private", home)
        run("mount", "--make-shared", home)
    disk = folder / "disk"  # all that the machine writes; the host's mount, so that an image can be made of it
    disk.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size.disk_mb}m,mode=755", "beamdesk", disk)
    made = cgroups.limit(family, folder.name, size.cores, size.memory_mb)
    enter = 'for g in $GROUPS_OF_NODE; do echo $$ > "$g/cgroup.procs"; done; unset GROUPS_OF_NODE; exec "$@"'
    spaces = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--kill-child", "--propagation", "slave"]
    line = ["sh", "-c", enter, "sh", *spaces, sys.executable, "-m", "agents.localcloud.inside", str(folder)]
    before = os.readlink("/proc/self/ns/net")
    with (folder / "log").open("ab") as log:
        shell = subprocess.Popen(
            line,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "GROUPS_OF_NODE": " ".join(map(str, made))},
        )
    _until(lambda: _net(shell.pid) not in (None, before), shell, folder)
    _connect(shell.pid, folder.name, cable)
    _until(lambda: bool(children(shell.pid)), shell, folder)
    return children(shell.pid)[0]


def _net(pid: int) -> str | None:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/net")
    return None


def _until(condition: Callable[[], bool], shell: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while not condition():
        if shell.poll() is not None or time.monotonic() > deadline:
            raise CloudError(500, "start", f"the machine did not start: {tail(folder)}")
        time.sleep(0.002)


def tail(folder: Path) -> str:
    """The last line that the machine's start wrote."""
    with suppress(OSError):
        lines = (folder / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
    return "it has no log"


def children(pid: int) -> list[int]:
    """The process's own children."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def make_bridge(bridge: str, subnet: ipaddress.IPv4Network) -> None:
    """The machines' own network; the host is its first address. Nothing of it is IPv6.

    Its hardware address is fixed: by itself a bridge takes the lowest of its cables', another one as machines come and
    go, and what the others send to the one that they know is lost until they ask again, for 1 to 14 seconds.
    """
    for link in json.loads(run("ip", "-json", "-4", "addr", "show")):
        for own in link["addr_info"]:
            network = ipaddress.IPv4Interface(f"{own['local']}/{own['prefixlen']}").network
            if link["ifname"] != bridge and network.overlaps(subnet):
                where = f"{network} on {link['ifname']}"
                raise CloudError(500, "subnet", f"{subnet} is in use: {where}; give localcloud.toml another subnet")
    if not Path("/sys/class/net", bridge).exists():
        run("ip", "link", "add", bridge, "type", "bridge")
    host = next(subnet.hosts())
    run("ip", "link", "set", bridge, "address", hardware(host), "addrgenmode", "none", "up")
    run("ip", "addr", "replace", f"{host}/{subnet.prefixlen}", "dev", bridge)


def hardware(address: ipaddress.IPv4Address) -> str:
    """The hardware address of whoever has this address in its cloud's network."""
    return "02:bd:" + ":".join(f"{byte:02x}" for byte in address.packed)


def link_of(bridge: str, node: str) -> str:
    """The host's end of the node's cable; at most 15 characters."""
    return f"{bridge[:9]}{node[-6:]}"


def _connect(pid: int, node: str, cable: Cable) -> None:
    """A cable from the bridge to the machine. It is isolated, so that machines cannot reach each other."""
    bridge, subnet, address = cable.bridge, cable.subnet, cable.address
    link = link_of(bridge, node)
    mac = hardware(ipaddress.IPv4Address(address))
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", str(pid))
    run("ip", "link", "set", link, "master", bridge, "addrgenmode", "none", "up")
    run("ip", "link", "set", "dev", link, "type", "bridge_slave", "isolated", "on")
    run("tc", "qdisc", "add", "dev", link, "clsact")
    _filter(link, "ingress", ONLY_ANSWERS if cable.dials is None else only_answers_and(cable.dials))
    if cable.dials is not None:
        _filter(link, "egress", NOTHING_BEGUN)
    space = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    run(*space, "nft", "-f", "-", text=firewall(next(subnet.hosts())))
    inside = [*space, "ip"]
    run(*inside, "addr", "add", f"{address}/{subnet.prefixlen}", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "addrgenmode", "none", "up")
    # Known, not asked for: whoever knocks before the machine is up would make ARP pause for a second.
    run("ip", "neigh", "replace", address, "lladdr", mac, "dev", bridge, "nud", "reachable")


def _filter(link: str, direction: str, program: list[str]) -> None:
    code = ",".join([str(len(program)), *program])
    run("tc", "filter", "add", "dev", link, direction, "bpf", "direct-action", "bytecode", code)


def only_answers_and(dialled: str) -> list[str]:
    """ONLY_ANSWERS, and connections that the machine begins to this address and port."""
    address, _, port = dialled.partition(":")
    return [
        "40 0 0 12",  # the frame's protocol
        "21 12 0 2054",  # ARP: pass
        "21 0 12 2048",  # not IPv4: drop
        "48 0 0 23",  # IPv4's protocol
        "21 9 0 1",  # ICMP: pass
        "21 0 9 6",  # not TCP: drop
        "177 0 0 14",  # skip the IPv4 header
        "80 0 0 27",  # TCP's flags
        "84 0 0 18",  # of them SYN and ACK
        "21 0 4 2",  # not SYN alone: pass
        "32 0 0 30",  # whom it is for
        f"21 0 3 {int(ipaddress.IPv4Address(address))}",  # another: drop
        "72 0 0 16",  # TCP's port there
        f"21 0 1 {port}",  # another: drop
        "6 0 0 0",
        "6 0 0 2",
    ]


def firewall(host: ipaddress.IPv4Address) -> str:
    """What a machine lets in, from its host alone: the rules that every cloud's machines have. Its own root cannot lay
    them, nor take them away."""
    return f"define from4 = {{ {host} }}\ndefine from6 = {{ ::1 }}\n{FIREWALL.read_text()}"


def wait_for_sshd(folder: Path, pid: int, born: int) -> None:
    """Until the machine listens on port 22; it is looked at from within, as some machines nobody reaches."""
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and birth(pid) == born:
        with suppress(OSError):
            if re.search(r": [0-9A-F]{8}:0016 [0-9A-F]{8}:0000 0A ", Path(f"/proc/{pid}/net/tcp").read_text()):
                return
        time.sleep(0.01)
    raise CloudError(500, "start", f"no sshd: {tail(folder)}")


def birth(pid: int) -> int | None:
    """When the process began, in the kernel's ticks; None where it is gone. A pid alone may be another's by now."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    return None


def kill(pid: int, born: int) -> None:
    """Kill the machine's init, and with it every process of the machine; back when they are gone."""
    deadline = time.monotonic() + ENDS_WITHIN
    while birth(pid) == born:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise CloudError(500, "kill", f"process {pid} does not end")
        time.sleep(0.005)


@contextmanager
def standing_still(init: int) -> Iterator[None]:
    """Stop every process of the machine while the block runs, those too that others begin while they are stopped."""
    space, stopped = os.readlink(f"/proc/{init}/ns/pid"), set[int]()
    try:
        while fresh := set(_processes(space)) - stopped:
            stopped |= fresh
            _signal(fresh, signal.SIGSTOP)
        yield
    finally:
        _signal(stopped, signal.SIGCONT)


def _processes(space: str) -> list[int]:
    return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _space(pid) == space]


def _space(pid: int) -> str | None:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return None


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def starters(folder: Path) -> list[int]:
    """The host's processes that hold this machine, found by their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"agents.localcloud.inside" in words and str(folder).encode() in words:
                    found.append(int(entry.name))
    return found


def remove(folder: Path, family: str, bridge: str) -> None:
    """Remove the machine and all that is known of it."""
    clear(folder, family, bridge)
    shutil.rmtree(folder, ignore_errors=True)


def clear(folder: Path, family: str, bridge: str) -> None:
    """Remove all that the machine was made of; its record stays."""
    deadline = time.monotonic() + ENDS_WITHIN
    _end(folder, deadline)
    run("ip", "link", "del", link_of(bridge, folder.name), check=False)
    for mount in sorted(mounts_below(folder), reverse=True):
        run("umount", mount, check=False)
        if os.path.ismount(mount):
            run("umount", "-l", mount, check=False)
    if left := mounts_below(folder):
        raise CloudError(500, "mounted", f"{left[0]} cannot be unmounted")
    while any(group.exists() for group in cgroups.groups(family, folder.name)) and time.monotonic() < deadline:
        cgroups.remove(family, folder.name)
        time.sleep(0.01)


def _end(folder: Path, deadline: float) -> None:
    """Kill what holds the machine, and with it the machine's own processes."""
    while found := starters(folder):
        for pid in found:
            for each in (*children(pid), pid):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise CloudError(500, "kill", f"process {found[0]} does not end")
        time.sleep(0.005)


def show(source: Path, place: Path) -> None:
    """Bind the folder to `place`, where the machine's root can write too: a link that it left there is not followed."""
    with suppress(FileExistsError):
        place.mkdir()
    try:
        spot = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        raise CloudError(409, "bad-path", f"/home/{place.name} is no folder on this node") from None
    try:
        run("mount", "--no-canonicalize", "--bind", source, f"/proc/{os.getpid()}/fd/{spot}")
    finally:
        os.close(spot)


def mounts_below(folder: Path) -> list[str]:
    """The host's mount points in the folder."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    decoded = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point) for point in points]
    return [point for point in decoded if point.startswith(f"{folder}/")]
