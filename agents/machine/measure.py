"""Measures what tells whether a machine is in use: input, and the load of the user's processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agents.machine.activity import Reading
from agents.machine.seat import Seat, groups_of
from agents.machine.x11 import XError

_TICKS = os.sysconf("SC_CLK_TCK")
_TERMINALS = Path("/dev/pts")
_GRAPHICS = Path("/sys/class/drm")
_NVIDIA = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")
# They work for whoever looks and listens (agents/machine/sound.py), not for the user.
_OF_VIEWERS = frozenset({"Xtigervnc", "Xvnc", "parec", "gst-launch-1.0"})


def reading(seat: Seat) -> Reading:
    """All of it, now."""
    at = time.monotonic()
    cpu_seconds, io_bytes = usage(seat.uid)
    return Reading(at, input_age(seat), cpu_seconds, io_bytes, gpu_percent())


def input_age(seat: Seat) -> float | None:
    """Seconds since the last key, click or move on the seat's display, or key in a terminal of its account.

    None while the display cannot be asked: nothing is known then.
    """
    try:
        with seat.open_display() as display:
            return min([display.idle_seconds(), *_terminal_ages(seat.uid)])
    except (OSError, XError):
        return None


def _terminal_ages(uid: int) -> Iterator[float]:
    """Of each terminal of this account: the kernel notes when a program read what somebody typed there."""
    for terminal in _TERMINALS.glob("[0-9]*"):
        with suppress(OSError):
            found = terminal.stat()
            if found.st_uid == uid:
                yield max(0.0, time.time() - found.st_atime)


def usage(uid: int) -> tuple[float, int]:
    """CPU seconds, and bytes read and written, of all processes of this account and the children they waited for.

    Bytes are those of read() and write() on anything (/proc/PID/io): files, terminals and most sockets.
    """
    cpu, total, moved = 0.0, 0, _moved(uid)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if _owner(process) == uid:
                name, seconds = _cpu(process)
                if name not in _OF_VIEWERS:
                    cpu += seconds
                    total += moved.get(process.name, 0)
    return cpu, total


def _owner(process: Path) -> int:
    """The real account: that of the folder itself is root's where a process may not be traced, as sshd's."""
    status = (process / "status").read_text(errors="replace")
    return int(status.partition("\nUid:")[2].split(maxsplit=1)[0])


def _cpu(process: Path) -> tuple[str, float]:
    """Name, and CPU seconds with those of children that were waited for (proc(5), fields 14 to 17)."""
    head, _, tail = (process / "stat").read_text(errors="replace").rpartition(")")
    return head.partition("(")[2], sum(map(int, tail.split()[11:15])) / _TICKS


def _moved(uid: int) -> dict[str, int]:
    """Bytes read and written by each of the account's processes; asked by the account itself, because a machine's
    root may have no right to trace others' processes, which the kernel wants for these figures."""
    group, groups = groups_of(uid)
    who = {} if uid == os.geteuid() else {"user": uid, "group": group, "extra_groups": groups}
    command = ["sh", "-c", "exec grep -Hs '^[rw]char:' /proc/[0-9]*/io"]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, cwd="/", **who)  # type: ignore[call-overload]
    moved: dict[str, int] = {}
    for line in run.stdout.splitlines():
        process, number = line.split("/")[2], int(line.rpartition(" ")[2])
        moved[process] = moved.get(process, 0) + number
    return moved


def gpu_percent() -> float | None:
    """How busy the busiest GPU is; None where there is none that tells."""
    busy = [*_nvidia(), *_kernel_drivers()]
    return max(busy, default=None)


def _nvidia() -> list[float]:
    if shutil.which(_NVIDIA[0]) is None:
        return []
    try:
        run = subprocess.run(_NVIDIA, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_nvidia(run.stdout)


def parse_nvidia(output: str) -> list[float]:
    """The percentages of nvidia-smi's answer, one GPU a line; a GPU that is split up (MIG) says `[N/A]`."""
    return [float(line) for line in output.splitlines() if line.strip().isdigit()]


def _kernel_drivers() -> list[float]:
    """What amdgpu tells in /sys."""
    found = []
    for file in _GRAPHICS.glob("card*/device/gpu_busy_percent"):
        with suppress(OSError, ValueError):
            found.append(float(file.read_text()))
    return found
