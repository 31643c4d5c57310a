"""One browser's way to a desktop's sound: Ogg with Opus from the machine, a page in each message.

Old sound is worth nothing. So the machine is always read, and what a slow browser does not take is dropped, a whole
page at a time: neither memory nor delay grows.
"""

from __future__ import annotations

import select
import socket
import ssl

from agents.protocol import SOUND_DOOR
from broker.configuration import doors
from broker.errors import MachineUnreachable
from broker.gateways.carry import MACHINE_LEFT, MachineLeft
from broker.gateways.ogg import NoPage, Pages
from broker.gateways.patience import Patience, hurry
from broker.gateways.sides import NOT_YET
from broker.gateways.signs import Signs
from broker.gateways.viewer import Viewer
from broker.runtime import Runtime
from broker.sessions.service import Desktop

PATH = "/sound"
PIECE = 16 * 1024  # bytes, the most in one record of TLS
MOST_ON_THE_WAY = 16 * 1024  # bytes that the kernel keeps for a browser: about a second


def reach(runtime: Runtime, desktop: Desktop, timeout: float) -> ssl.SSLSocket:
    """The encoder that begins for this listener, or MachineUnreachable."""
    try:
        state_dir = runtime.settings.state_dir
        return doors.reach(state_dir, desktop.machine, desktop.address, SOUND_DOOR, timeout=timeout)
    except OSError as error:
        why = error.strerror or "nothing came in time"
        raise MachineUnreachable(
            f"The desktop's machine gives no sound: {why}.",
            hint="Try again in a moment; a machine that was made before Beamdesk had sound has none.",
        ) from None


def carry(viewer: Viewer, machine: ssl.SSLSocket, patience: Patience) -> None:
    """Carry until Ended, Left, TooMuch or an OSError says that it is over."""
    hurry(0)
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_ON_THE_WAY)
    machine.setblocking(False)
    listening = Listening(viewer, machine, patience)
    while True:
        listening.turn()


class Listening:
    """One listener's sound, over two sockets that do not block."""

    def __init__(self, viewer: Viewer, machine: ssl.SSLSocket, patience: Patience) -> None:
        self._viewer, self._machine, self._patience = viewer, machine, patience
        self._pages = Pages()
        self._signs = Signs(viewer, patience, "listener", "sound")

    def turn(self) -> None:
        """Wait until there is something to carry, and carry it."""
        viewer, machine = self._viewer, self._machine
        reads: list[Viewer | ssl.SSLSocket] = [viewer, machine]
        waits = [viewer] * bool(viewer.unsent)
        timeout = 0 if machine.pending() else self._patience.heartbeat
        readable, writable, _ = select.select(reads, waits, [], timeout)
        if writable:
            self._flush()
        if viewer in readable:
            self._signs.heard()
            viewer.said()  # it has nothing to say; that it left is raised
        self._pass_on()
        self._signs.look_after()

    def _flush(self) -> None:
        self._viewer.flush()
        self._signs.taken()

    def _pass_on(self) -> None:
        for page in self._said_by_machine():
            if not self._viewer.unsent:
                self._viewer.say(page)
                self._signs.taken()

    def _said_by_machine(self) -> list[bytes]:
        try:
            said = self._machine.recv(PIECE)
            if said:
                return self._pages.hear(said)
        except NOT_YET:
            return []
        except NoPage:
            raise MachineLeft("what the machine says is no sound") from None
        except (ConnectionError, ssl.SSLError):
            pass
        raise MachineLeft(MACHINE_LEFT)
