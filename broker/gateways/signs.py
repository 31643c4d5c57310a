"""The signs of life of a viewer, for as long as something is carried to it."""

from __future__ import annotations

import time

from broker.gateways.patience import Patience
from broker.gateways.viewer import Viewer


class Ended(Exception):
    """Raised when there is nothing left to carry; its text says why."""


class Signs:
    """When the viewer last said something, took something, and was pinged. `who` and `what` it takes: Ended says so."""

    def __init__(self, viewer: Viewer, patience: Patience, who: str, what: str) -> None:
        self._viewer, self._patience, self._who, self._what = viewer, patience, who, what
        self._heard = self._taken = self._pinged = time.monotonic()

    def heard(self) -> None:
        """It said something, or answered."""
        self._heard = time.monotonic()

    def taken(self) -> None:
        """It took something, or is given something anew."""
        self._taken = time.monotonic()

    def look_after(self) -> None:
        """Ping in time; raise Ended where the viewer is silent or stuck."""
        moment, silence = time.monotonic(), self._patience.silence
        if moment - max(self._heard, self._taken) > silence:
            raise Ended(f"the {self._who} does not answer any more")
        if self._viewer.unsent and moment - self._taken > silence:
            raise Ended(f"the {self._who} does not take its {self._what} any more")
        if moment - self._pinged >= self._patience.heartbeat:
            self._pinged = moment
            self._viewer.ping()
