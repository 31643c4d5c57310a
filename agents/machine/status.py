"""How the machine is."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agents.machine import state, supervisor, watch
from agents.machine.attach import seat_of
from agents.machine.seat import Seat
from agents.machine.x11 import XError
from agents.protocol import Nothing, StatusAnswer

_ESTABLISHED = "01"  # as /proc/net/tcp writes it


def status(_: Nothing, __: float) -> StatusAnswer:
    """The session, whether its desktop runs, the clock, the load, how many look at it, and how long it is idle."""
    current = state.read()
    if current is None or current.detached:
        session = current.session if current else None
        return StatusAnswer(session, "none", time.time(), os.getloadavg()[0], 0, None, "", ())
    seat = seat_of(current.user, current.uid, current.home)
    record = watch.read(seat)
    return StatusAnswer(
        session=current.session,
        desktop="running" if _runs(seat) else "none",
        clock=time.time(),
        load1=os.getloadavg()[0],
        viewers=viewers(seat.vnc_port),
        idle_seconds=watch.idle_seconds(seat, record),
        sign=record.sign if record else "",
        work=record.work if record else (),
    )


def _runs(seat: Seat) -> bool:
    try:
        seat.open_display().close()
        return supervisor.running(seat)
    except (OSError, XError):
        return False


def viewers(port: int) -> int:
    """How many connections to this port are open, as the kernel's tables say."""
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, connection_state, *_ = line.split()
            count += connection_state == _ESTABLISHED and int(local.rsplit(":", 1)[1], 16) == port
    return count
