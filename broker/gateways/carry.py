"""Carries bytes between a viewer and a machine until either ends.

Neither side's slowness is stored: each side is read only while the other one takes. So a viewer that stalls holds
back its own machine's socket and nothing else, and costs no memory; one that stalls for good is let go.

The machine's side is TLS: what it said may wait decrypted, where no select sees it, and a part of a record is nothing
yet.
"""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from broker.gateways.first_frame import FirstFrame
from broker.gateways.patience import Patience
from broker.gateways.sides import NOT_YET, RECORD
from broker.gateways.signs import Ended as Ended
from broker.gateways.signs import Signs
from broker.gateways.viewer import Viewer

CHUNK = 256 * 1024
MACHINE_LEFT = "the desktop closed the connection"
MOST_FOR_MACHINE = 256 * 1024  # bytes that wait for a machine, beyond which its viewer is not read


class MachineLeft(Ended):
    """Raised when the desktop closed the connection."""


class Carrying:
    """One desktop's bytes, both ways, over two sockets that do not block."""

    def __init__(
        self,
        viewer: Viewer,
        machine: ssl.SSLSocket,
        *,
        on_first_frame: Callable[[], None],
        patience: Patience,
        passed: Callable[[bytes], bytes] = bytes,
        shown: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """`passed` gives what may reach the machine of what the viewer said; `shown` is told what it is shown."""
        self._viewer, self._machine, self._passed, self._shown = viewer, machine, passed, shown
        self._on_first_frame, self._patience = on_first_frame, patience
        self._first = FirstFrame()
        self._to_machine = bytearray()
        self._signs = Signs(viewer, patience, "viewer", "picture")

    def run(self) -> None:
        """Carry until Ended, Left, TooMuch or an OSError says that it is over."""
        while True:
            viewer, machine = self._viewer, self._machine
            reads: list[Viewer | ssl.SSLSocket] = []
            if len(self._to_machine) < MOST_FOR_MACHINE:
                reads.append(viewer)
            if not viewer.unsent:
                reads.append(machine)
            decrypted = not viewer.unsent and bool(machine.pending())
            writes = [machine] * bool(self._to_machine) + [viewer] * bool(viewer.unsent)
            readable, writable, _ = select.select(reads, writes, [], 0 if decrypted else self._patience.heartbeat)
            if viewer in writable:
                self._flush()
            if viewer in readable or machine in writable:
                self._from_viewer(viewer in readable)
            if machine in readable or decrypted:
                self._from_machine()
            self._signs.look_after()

    def _flush(self) -> None:
        self._viewer.flush()
        self._signs.taken()

    def _from_viewer(self, readable: bool) -> None:
        if readable:
            self._signs.heard()
            self._to_machine += self._passed(self._viewer.said())
        if self._to_machine:
            with suppress(*NOT_YET), _leaving():
                del self._to_machine[: self._machine.send(self._to_machine)]

    def _from_machine(self) -> None:
        data = self._said_by_machine()
        if not data:
            return
        self._signs.taken()
        self._shown(data)
        self._viewer.say(data)
        if not self._first.seen and self._first.watch(data):
            self._on_first_frame()

    def _said_by_machine(self) -> bytes:
        """All that there is now, up to CHUNK; nothing where no record is whole. MachineLeft at its end."""
        said = bytearray()
        try:
            while len(said) <= CHUNK - RECORD:
                with _leaving():
                    piece = self._machine.recv(RECORD)
                if not piece:
                    raise MachineLeft(MACHINE_LEFT)
                said += piece
                if len(piece) < RECORD and not self._machine.pending():
                    break  # select sees what comes now, and costs less than a read that finds nothing
        except NOT_YET:
            pass
        except MachineLeft:
            if not said:  # its last words first; the end is found again
                raise
        return bytes(said)


@contextmanager
def _leaving() -> Iterator[None]:
    """A connection that breaks, as where the machine dies, is closed as well."""
    try:
        yield
    except NOT_YET:
        raise
    except (ConnectionError, ssl.SSLError):
        raise MachineLeft(MACHINE_LEFT) from None
