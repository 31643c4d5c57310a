"""Machines' connections to the tunnels' sshd, as the kernel shows them: who listens where, by whose connection.

So nothing need be remembered of them, and they are known after a restart as before it.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from broker.clouds.dialling import ENDS

PATIENCE = 2.0  # seconds for a killed process to be gone
_ESTABLISHED, _LISTENING = "01", "0A"  # as /proc/net/tcp writes them


@dataclass(frozen=True)
class Socket:
    """One of this host's."""

    address: str
    port: int
    state: str
    inode: str


@dataclass(frozen=True)
class Dialled:
    """One machine's connection: its socket's number, the processes that hold it, and the addresses at which they listen
    for it."""

    inode: str
    pids: frozenset[int]
    ends: frozenset[str]


def sockets() -> Iterator[Socket]:
    """TCP's, of IPv4."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        address, _, port = words[1].partition(":")
        yield Socket(_dotted(address), int(port, 16), words[3], words[9])


def _dotted(address: str) -> str:
    """As /proc/net/tcp writes an address: 0500507F is 127.80.0.5."""
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(address)))


def listening() -> set[str]:
    """The addresses at which somebody listens on a port of tunnels' ends."""
    return {each.address for each in sockets() if each.state == _LISTENING and each.port in ENDS}


def connections(port: int) -> list[Dialled]:
    """Those that came in by this port of ours, finished signing in or not."""
    there = list(sockets())
    came = {each.inode for each in there if each.state == _ESTABLISHED and each.port == port}
    ends = {each.inode: each.address for each in there if each.state == _LISTENING and each.port in ENDS}
    pids, listens = defaultdict[str, set[int]](set), defaultdict[str, set[str]](set)
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        held = _sockets_of(pid)
        for inode in held & came:
            pids[inode].add(pid)
            listens[inode] |= {ends[each] for each in held & ends.keys()}
    return [Dialled(inode, frozenset(pids[inode]), frozenset(listens[inode])) for inode in pids]


def _sockets_of(pid: int) -> set[str]:
    """The numbers of the sockets that a process of sshd's holds."""
    found = set()
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text() == "sshd\n":
            for entry in os.scandir(f"/proc/{pid}/fd"):
                kind, _, rest = os.readlink(entry).partition(":[")
                if kind == "socket":
                    found.add(rest.rstrip("]"))
    return found


def cut(port: int, living: Collection[str]) -> int:
    """End every connection that came in by this port and listens at no end of the living, or at another's; how many.

    An honest machine that was just dialling dials again. One that was just let in has its connection handed from one
    process to the next: so they are looked for until nobody holds it.
    """
    gone = {each.inode for each in connections(port) if not each.ends or not each.ends <= set(living)}
    deadline = time.monotonic() + PATIENCE
    while left := {pid for each in connections(port) if each.inode in gone for pid in each.pids}:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the processes {sorted(left)} do not end")
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return len(gone)
