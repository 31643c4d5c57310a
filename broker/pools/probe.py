"""Does a machine show its user a working desktop? Looked at as a user's viewer would, not as a port scan.

The machine starts the environment's very desktop on a display of its own; the broker connects to it over the
network, through a door as a session's is, does a real RFB handshake, takes a frame and looks whether anything is
painted on it. SSH by certificate is proved by the way: the agent is asked over it.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from PIL import Image

from agents.protocol import PROBE_DOOR, Nothing, ProbeAnswer, ProbeRequest
from broker.configuration import doors
from broker.errors import BrokerError, ProbeFailed
from broker.pools.access import agent, target
from broker.pools.models import Machine
from broker.rfb import Frame
from broker.runtime import Runtime

CLOCK_TOLERANCE = 5.0  # seconds: certificates begin a minute early, tickets end after one
FEWEST_COLOURS = 8  # of a painted desktop; a black or grey screen with a pointer has fewer
GEOMETRY = "1280x720"
THUMBNAIL = (640, 360)


def probe(runtime: Runtime, machine: Machine) -> Path:
    """Look at the machine's desktop; the picture's path, or ProbeFailed with what is wrong and the evidence."""
    password = secrets.token_urlsafe(12)
    try:
        frame = _look(runtime, machine, password)
        if colours(frame) < FEWEST_COLOURS:
            raise ProbeFailed("The probe saw a blank screen.", evidence=None)
    except (BrokerError, OSError) as error:
        message = error.message if isinstance(error, ProbeFailed) else f"The probe saw no desktop: {error}"
        raise ProbeFailed(message, evidence=_evidence(runtime, machine, password)) from error
    agent(runtime, machine, "probe-stop", Nothing(), Nothing, timeout=20)
    return save(runtime, machine, frame)


def _look(runtime: Runtime, machine: Machine, password: str) -> Frame:
    asked = time.time()
    answer = agent(runtime, machine, "probe-start", ProbeRequest(password, GEOMETRY), ProbeAnswer, timeout=60)
    _must_be_sound(answer, asked, time.time() - asked)
    return _frame(runtime, machine, password, timeout=10)


def _frame(runtime: Runtime, machine: Machine, password: str, *, timeout: float) -> Frame:
    where = target(machine)
    return doors.look(runtime.settings.state_dir, where.name, where.address, PROBE_DOOR, password, timeout=timeout)


def _evidence(runtime: Runtime, machine: Machine, password: str) -> str | None:
    """The name of a picture of what the probe's display shows now; None, and no older one, where nothing is seen."""
    try:
        return save(runtime, machine, _frame(runtime, machine, password, timeout=5)).name
    except (BrokerError, OSError):
        _path(runtime, machine).unlink(missing_ok=True)
        return None


def _must_be_sound(answer: ProbeAnswer, asked: float, took: float) -> None:
    if not answer.home_writable:
        raise ProbeFailed("A user could not write to a home on this machine.", evidence=None)
    if not asked - CLOCK_TOLERANCE <= answer.clock <= asked + took + CLOCK_TOLERANCE:
        raise ProbeFailed(f"The machine's clock is {answer.clock - asked:+.0f} s off.", evidence=None)


def colours(frame: Frame) -> int:
    """How many different colours the frame has, counted to a few hundred."""
    picture = _picture(frame).resize((max(1, frame.width // 4), max(1, frame.height // 4)), Image.Resampling.NEAREST)
    found = picture.getcolors(maxcolors=256)
    return len(found) if found is not None else 257


def save(runtime: Runtime, machine: Machine, frame: Frame) -> Path:
    """Keep the frame as the machine's picture; the last one counts."""
    path = _path(runtime, machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = _picture(frame)
    picture.thumbnail(THUMBNAIL)
    picture.save(path, optimize=False)
    return path


def _path(runtime: Runtime, machine: Machine) -> Path:
    return runtime.settings.state_dir.absolute() / f"evidence/machine-{machine.id}.png"


def _picture(frame: Frame) -> Image.Image:
    return Image.frombuffer("RGB", (frame.width, frame.height), frame.pixels, "raw", "BGRX", 0, 1)
