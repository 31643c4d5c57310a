"""A look at the desktop before a user sees it: the same desktop, on :2, for an account of its own.

The user's display, account and home are never touched, and an attach that comes meanwhile ends the probe and goes
on: it takes no lock that a probe holds.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from agents.machine import door, painted, state, supervisor
from agents.machine.faults import AgentError
from agents.machine.seat import Seat, desktop
from agents.protocol import PROBE_DOOR, Nothing, ProbeAnswer, ProbeRequest

ACCOUNT = "beamdesk-probe"
_PAINT_SECONDS, _DOOR_SECONDS, _LONGEST = 30.0, 5.0, 120.0


def start(request: ProbeRequest, started: float) -> ProbeAnswer:
    """Start the probe's desktop and answer when it is painted; it ends by probe-stop, by attach, or by itself."""
    marks = painted.Marks(started)
    with state.turn("probe"):
        look = desktop()
        _refuse_if_attached()
        end_any(seconds=5.0)
        seat = _seat(request.geometry)
        seat.prepare(request.password)
        go = supervisor.launch(seat, once=True, seconds=_LONGEST, unless=_attached, afterwards=_remove_home)
        if go is None:
            raise AgentError("probe-busy", "The probe before this one has not ended yet.")
        os.write(go, b"1")
        os.close(go)
        painted.wait(seat, look, marks, _PAINT_SECONDS, lambda: _go_on(seat))
        door.wait(seat, _DOOR_SECONDS)
    marks.reach("total_ms")
    return ProbeAnswer(PROBE_DOOR, time.time(), _writable(seat), marks.timings)


def stop(_: Nothing, __: float) -> Nothing:
    """End the probe; its home is removed as it ends."""
    end_any()
    return Nothing()


def end_any(*, seconds: float = 0.0) -> None:
    """End a running probe at once, and wait up to `seconds` until it has ended."""
    try:
        number = pwd.getpwnam(ACCOUNT).pw_uid
    except KeyError:
        return
    seat = Seat("probe", 2, number, ACCOUNT, str(_home()), "", rdp=False)
    if supervisor.running(seat):
        supervisor.end(seat, seconds=seconds)


def _home() -> Path:
    return Path("/home") / ACCOUNT


def _remove_home() -> None:
    shutil.rmtree(_home(), ignore_errors=True)


def _seat(geometry: str) -> Seat:
    try:
        number = pwd.getpwnam(ACCOUNT).pw_uid
    except KeyError:
        raise AgentError("not-configured", f"This machine has no account {ACCOUNT}.") from None
    home = _home()
    _remove_home()
    shutil.copytree("/etc/skel", home)
    subprocess.run(["chown", "-R", f"{number}:{number}", str(home)], check=True)
    return Seat("probe", 2, number, ACCOUNT, str(home), geometry, rdp=False)


def _attached() -> bool:
    return state.read() is not None


def _refuse_if_attached() -> None:
    if _attached():
        raise AgentError("attached", "A session has this machine: it is not probed any more.")


def _go_on(seat: Seat) -> None:
    _refuse_if_attached()
    if not supervisor.running(seat):
        raise AgentError("desktop-ended", "The desktop ended before it was painted. " + painted.evidence(seat))


def _writable(seat: Seat) -> bool:
    """Whether a file in the probe's home can be written, kept and read back."""
    try:
        with tempfile.TemporaryFile(dir=seat.home) as file:
            file.write(b"beamdesk")
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return file.read() == b"beamdesk"
    except OSError:
        return False
