"""How the machine is."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agents.machine import state, supervisor
from agents.machine.attach import seat_of
from agents.machine.x11 import XError
from agents.protocol import Nothing, StatusAnswer

_ESTABLISHED = "01"  # as /proc/net/tcp writes it


def status(_: Nothing, __: float) -> StatusAnswer:
    """The session, whether its desktop runs, the clock, the load, and how many look at it."""
    current = state.read()
    if current is None or current.detached:
        return StatusAnswer(current.session if current else None, "none", time.time(), os.getloadavg()[0], 0)
    seat = seat_of(current.user, current.uid, current.home)
    try:
        seat.open_display().close()
        running = supervisor.running(seat)
    except (OSError, XError):
        running = False
    desktop = "running" if running else "none"
    return StatusAnswer(current.session, desktop, time.time(), os.getloadavg()[0], viewers(seat.vnc_port))


def viewers(port: int) -> int:
    """How many connections to this port are open, as the kernel's tables say."""
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, connection_state, *_ = line.split()
            count += connection_state == _ESTABLISHED and int(local.rsplit(":", 1)[1], 16) == port
    return count
