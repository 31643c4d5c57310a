"""How long a gateway waits for what."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn


@dataclass(frozen=True)
class Patience:
    """In seconds, for one connection."""

    request: float = 10.0  # for each part of its request's headers
    opening: float = 20.0  # from the connection to the end of both handshakes, whoever is slow
    machine: float = 5.0  # for each answer of the machine's in its handshake
    heartbeat: float = 15.0  # between pings: proxies drop what is silent for 60, and hidden tabs stop their timers
    silence: float = 60.0  # for which a viewer may neither say nor take anything, or leave unread what waits for it
    goodbye: float = 1.0  # for the viewer's own close after ours


def hurry(seconds: float) -> None:
    """Let this process get a TimeoutError, wherever it then is, after so long; 0 takes that back."""
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _too_slow(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError("it took too long to open")
