"""Waits until a seat's desktop can be seen."""

from __future__ import annotations

import time
from collections.abc import Callable

from agents.machine.faults import AgentError
from agents.machine.seat import Desktop, Look, Seat
from agents.machine.x11 import Display, XError

_PAUSE = 0.01  # seconds between two looks


class Marks:
    """Milliseconds from the agent's start to each mark, the first time it is reached."""

    def __init__(self, started: float) -> None:
        self._started = started
        self.timings: dict[str, float] = {}

    def reach(self, name: str) -> None:
        """Note the time of a mark."""
        self.timings.setdefault(name, round((time.monotonic() - self._started) * 1000, 1))


def wait(seat: Seat, desktop: Desktop, marks: Marks, seconds: float, tend: Callable[[], None]) -> None:
    """Return once the desktop is painted; AgentError with evidence after `seconds`. `tend` is called at each look."""
    deadline = time.monotonic() + seconds
    lacks = "the display is not up"
    while time.monotonic() < deadline:
        tend()
        try:
            with seat.open_display() as display:
                marks.reach("vnc_ms")
                while time.monotonic() < deadline:
                    if not (lacks := missing(display, desktop)):
                        marks.reach("paint_ms")
                        return
                    tend()
                    time.sleep(_PAUSE)
        except (OSError, XError):
            time.sleep(_PAUSE)
    raise AgentError("not-painted", f"After {seconds:.0f} s {lacks}. {evidence(seat)}")


def missing(display: Display, desktop: Desktop) -> str:
    """What is not to be seen yet of the desktop, or nothing once it is painted."""
    return next(filter(None, (_not_seen(display, look) for look in desktop.painted)), "")


def _not_seen(display: Display, look: Look) -> str:
    """What is missing, or nothing if this sign is seen."""
    if look.window_class is None:
        colours = display.colours()
    else:
        areas = display.shown(look.window_class)
        if not areas:
            return f"no window of {look.window_class} is shown"
        colours = max(map(display.colours, areas))
    if colours < look.min_colours:
        return f"{look.window_class or 'the screen'} has {colours} of {look.min_colours} colours"
    return ""


def evidence(seat: Seat) -> str:
    """The last words of the seat's display and desktop."""
    tails = []
    for program in ("supervisor", "display", "desktop"):
        try:
            tail = seat.log(program).read_text(errors="replace")[-1000:].strip()
        except FileNotFoundError:
            tail = "(not started)"
        tails.append(f"{program}: {tail or '(silent)'}")
    return "\n".join(tails)
