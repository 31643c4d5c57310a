"""The browsers' gateway: websockify as a library, one forked process for each open desktop.

A desktop's process owns its two sockets and nothing else, so a slow viewer stalls nobody, and neither a restart of
web, worker or manager nor the death of this gateway's own listening process drops an open desktop. The gateway
signs in to the machine's VNC server itself: no browser ever holds that password.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import structlog
from sqlalchemy.exc import IntegrityError
from websockify.websocketproxy import WebSocketProxy

from broker import rfb
from broker.connections.models import Ticket
from broker.errors import BadSettings, NotSignedIn, TicketRefused
from broker.gateways import desktop, watch
from broker.gateways.desktop import DesktopHandler
from broker.gateways.door import Door
from broker.gateways.patience import Patience
from broker.gateways.processes import fork
from broker.identity.models import User
from broker.identity.rights import Role
from broker.identity.service import Person, whose
from broker.metrics import swallowed
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import UserSession
from broker.sessions.service import Desktop

log = structlog.get_logger()

EVERY = 0.5  # seconds between looks at the children
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"


class Gateway(WebSocketProxy):  # type: ignore[misc]
    """The listening process; it forks one process for each connection, and one that watches them."""

    _listener: socket.socket

    def __init__(self, runtime: Runtime, patience: Patience) -> None:
        self.runtime, self.patience = runtime, patience
        host, port = runtime.settings.gateway.listen.rsplit(":", 1)
        door = Door(runtime)
        super().__init__(
            DesktopHandler, listen_host=host.strip("[]"), listen_port=int(port), token_plugin=door, auth_plugin=door
        )
        self._desktops: set[int] = set()
        self._watcher = 0
        self._stopping = False

    def start_server(self) -> None:
        """Listen until SIGTERM, then let open desktops go on.

        In place of the library's own loop, which ends every desktop when it stops, leaves the listening socket open
        in all of them (so that no other gateway could listen while they live), and reaps inside a signal handler.
        """
        with self._listen() as self._listener:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            log.info("gateway.listening", at=self.runtime.settings.gateway.listen)
            while not self._stopping:
                try:
                    self._turn()
                except OSError as error:  # out of descriptors, of processes, or of memory
                    log.warning("gateway.accept", error=str(error))
                    time.sleep(EVERY)
        self._drain()

    def _turn(self) -> None:
        self.poll()
        if select.select([self._listener], [], [], EVERY)[0]:
            connection, address = self._listener.accept()
            with connection:
                self._take(connection, address)

    def poll(self) -> None:
        """Forget children that have ended; have somebody watch."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                self._desktops.discard(ended)
                self._watcher = 0 if ended == self._watcher else self._watcher
        if not self._watcher:
            parent = os.getpid()
            self._watcher = self._fork(lambda: watch.run(self.runtime, parent))

    def _listen(self) -> socket.socket:
        try:
            listener: socket.socket = self.socket(self.listen_host, self.listen_port)
            return listener
        except OSError as error:
            raise BadSettings(
                f"gateway.listen = {self.runtime.settings.gateway.listen!r}: cannot listen there ({error.strerror}).",
                hint="Stop what listens on this port, or give gateway.listen another one.",
            ) from None

    def _take(self, connection: socket.socket, address: tuple[str, int]) -> None:
        if len(self._desktops) < self.runtime.settings.gateway.connections:
            self._desktops.add(self._fork(lambda: desktop.serve(connection, address, self)))
        else:
            log.warning("gateway.full", desktops=len(self._desktops))
            with suppress(OSError):  # it went away again
                connection.send(BUSY)

    def _fork(self, work: Callable[[], None]) -> int:
        """A child that does this work; its number. It does not listen, so that another gateway can once we are gone."""

        def alone() -> None:
            self._listener.close()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            work()

        return fork(alone)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _drain(self) -> None:
        """Wait for open desktops as long as the settings say. Those that go on then are watched by the next gateway."""
        deadline = time.monotonic() + self.runtime.settings.gateway.drain_seconds
        log.info("gateway.stopping", desktops=len(self._desktops))
        while self._desktops and time.monotonic() < deadline:
            self.poll()
            time.sleep(EVERY)


def _warm(runtime: Runtime) -> None:
    """Do here once what every child does, so that they share its memory and need no time for it."""
    nobody = Person(0, "", "", 0, Role.USER, frozenset(), sign_in_id=0)
    rfb.vnc_response("", bytes(16))
    with swallowed("gateway-warm"):
        with suppress(NotSignedIn):
            whose(runtime, "")
        with suppress(TicketRefused), runtime.database.transaction() as db:
            for table in (Ticket, UserSession, Machine, User):
                db.get(table, 0)
            service.redeem(db, nobody, "")
        with suppress(IntegrityError), runtime.database.transaction() as db:
            Door(runtime).write_down(db, Desktop(0, 0, "", 0, "", "", "", "", ""))  # of no session: refused
    runtime.database.close()
    gc.collect()
    gc.freeze()


def run(runtime: Runtime, patience: Patience = Patience()) -> None:  # noqa: B008 - it is frozen
    """Carry desktops until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.WARNING)
    _warm(runtime)
    Gateway(runtime, patience).start_server()
