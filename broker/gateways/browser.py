"""The browsers' gateway: websockify as a library, one forked process for each open desktop.

The gateway signs in to the machine's VNC server itself: no browser ever holds that password.
"""

from __future__ import annotations

import gc
import logging
import socket
from contextlib import suppress

from websockify.websocketproxy import WebSocketProxy

from broker import rfb
from broker.configuration import doors
from broker.errors import NotSignedIn
from broker.gateways import desktop, heads, register
from broker.gateways.desktop import DesktopHandler
from broker.gateways.door import Door
from broker.gateways.listener import Listener
from broker.gateways.lobby import Lobby
from broker.gateways.patience import Patience
from broker.identity.rights import Role
from broker.identity.service import Person, whose
from broker.metrics import swallowed
from broker.runtime import Runtime
from broker.sessions import service

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"


class Proxy(WebSocketProxy):  # type: ignore[misc]
    """What the library's handlers ask for, and what ours do; it does not listen."""

    def __init__(self, runtime: Runtime, patience: Patience) -> None:
        self.runtime, self.patience = runtime, patience
        door = Door(runtime)
        super().__init__(DesktopHandler, listen_port=1, token_plugin=door, auth_plugin=door)


class Gateway(Listener):
    """The listening process, in place of the library's own loop, which ends every desktop when it stops, leaves the
    listening socket open in all of them (so that no other gateway could listen while they live), and reaps inside a
    signal handler."""

    def __init__(self, runtime: Runtime, patience: Patience) -> None:
        super().__init__(runtime, "gateway", runtime.settings.gateway)
        self._proxy = Proxy(runtime, patience)
        self._lobby = Lobby("gateway", self.selector, _head, self._admit, seconds=patience.request)

    def arrived(self, connection: socket.socket, client: str) -> None:
        """Let in as far as the lobby."""
        self._lobby.enter(connection, client)

    def stopped(self) -> None:
        """Nor does anybody wait any more."""
        self._lobby.close()

    def turn(self) -> None:
        """As any gateway's, and nobody waits in the lobby for too long."""
        super().turn()
        self._lobby.expire()

    def _admit(self, connection: socket.socket, client: str, head: bool) -> None:
        """A process for each browser that has said what it wants."""
        with swallowed("doors"):
            doors.warm(self.runtime.settings.state_dir)
        with connection:
            if not self.carry(client, lambda: desktop.serve(connection, (client, 0), self._proxy)):
                with suppress(OSError):  # it went away again
                    connection.send(BUSY)


def _head(connection: socket.socket, heard: bytearray) -> bool | None:
    """True once all of it is there; it stays where it is, for the library."""
    return heads.is_there(connection) or None


def _warm(runtime: Runtime) -> None:
    """Do here once what every child does, so that they share its memory and need no time for it."""
    nobody = Person(0, "", "", 0, Role.USER, frozenset(), sign_in_id=0)
    rfb.vnc_response("", bytes(16))
    with swallowed("gateway-warm"):
        doors.warm(runtime.settings.state_dir)
        with suppress(NotSignedIn):
            whose(runtime, "")
        register.warm(runtime, lambda db: service.redeem(db, runtime.settings, nobody, ""))
    runtime.database.close()
    gc.collect()
    gc.freeze()


def run(runtime: Runtime, patience: Patience = Patience()) -> None:  # noqa: B008 - it is frozen
    """Carry desktops until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.WARNING)
    _warm(runtime)
    Gateway(runtime, patience).run()
