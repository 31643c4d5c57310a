"""A gateway's listening process: it forks one process for each desktop, and one that watches them.

A desktop's process owns its two sockets and nothing else, so a slow viewer stalls nobody, and neither a restart of
web, worker or manager nor the death of the listening process drops an open desktop.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from types import FrameType

import structlog

from broker.errors import BadSettings
from broker.gateways import watch
from broker.gateways.processes import fork
from broker.runtime import Runtime
from broker.settings import GatewaySettings, RdpSettings

log = structlog.get_logger()

EVERY = 0.5  # seconds between looks at the children


class Listener(ABC):
    """Accepts connections until SIGTERM. `name` is its section of the settings, and the beginning of its log lines."""

    def __init__(self, runtime: Runtime, name: str, settings: GatewaySettings | RdpSettings) -> None:
        self.runtime, self.name, self.settings = runtime, name, settings
        self.selector = DefaultSelector()  # of sockets, each with what to do when it can be read
        self.clients: dict[int | socket.socket, str] = {}  # by their desktop's process, or what ends with it
        self._watcher = 0
        self._stopping = False

    @abstractmethod
    def arrived(self, connection: socket.socket, client: str) -> None:
        """Somebody has come, from this address."""

    @abstractmethod
    def stopped(self) -> None:
        """Nobody more is let in."""

    def run(self) -> None:
        """Listen until SIGTERM, then let open desktops go on."""
        with self._listen() as listener:
            self.selector.register(listener, EVENT_READ, lambda: self._accept(listener))
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            log.info(f"{self.name}.listening", at=self.settings.listen)
            while not self._stopping:
                try:
                    self.turn()
                except OSError as error:  # out of descriptors, of processes, or of memory
                    log.warning(f"{self.name}.accept", error=str(error))
                    time.sleep(EVERY)
            self.selector.unregister(listener)
        self.stopped()
        self._drain()

    def turn(self) -> None:
        """Look after the children, and do what the sockets ask for, by the settings as they are now."""
        self.runtime.reread()
        self._poll()
        for key, _ in self.selector.select(EVERY):
            key.data()

    def open_from(self, client: str) -> int:
        """How many desktops are open to this address."""
        return sum(each == client for each in self.clients.values())

    def carry(self, client: str, work: Callable[[], None]) -> bool:
        """Let a process of its own do this work; False where there is no room."""
        room = self.has_room()
        if room:
            self.clients[self.fork(work)] = client
        return room

    def has_room(self) -> bool:
        """Whether there are fewer desktops than the settings allow."""
        if len(self.clients) < self.settings.connections:
            return True
        log.warning(f"{self.name}.full", desktops=len(self.clients))
        return False

    def _accept(self, listener: socket.socket) -> None:
        connection, address = listener.accept()
        self.arrived(connection, str(address[0])[:64])

    def _listen(self) -> socket.socket:
        host, port = self.settings.listen.rsplit(":", 1)
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
            return socket.create_server(address[:2], family=family, backlog=1024)
        except (OSError, OverflowError) as error:
            raise BadSettings(
                f"{self.name}.listen = {self.settings.listen!r}: cannot listen there ({_reason(error)}).",
                hint=f"Stop what listens on this port, or give {self.name}.listen another one.",
            ) from None

    def _poll(self) -> None:
        """Forget children that have ended; have somebody watch."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                self.clients.pop(ended, None)
                self._watcher = 0 if ended == self._watcher else self._watcher
        if not self._watcher:
            parent = os.getpid()
            self._watcher = self.fork(lambda: watch.run(self.runtime, parent))

    def fork(self, work: Callable[[], None]) -> int:
        """A child that does this work; its number. It keeps no socket of ours, so that another gateway can listen once
        we are gone, and nobody's connection is held open by somebody else's process."""

        def alone() -> None:
            for key in list(self.selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]  # all are sockets
            self.selector.close()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            work()

        return fork(alone)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _drain(self) -> None:
        """Wait for open desktops as long as the settings say. Those that go on then are watched by the next gateway."""
        deadline = time.monotonic() + self.settings.drain_seconds
        log.info(f"{self.name}.stopping", desktops=len(self.clients))
        while self.clients and time.monotonic() < deadline:
            self._poll()
            for key, _ in self.selector.select(EVERY):
                key.data()


def _reason(error: Exception) -> str:
    """The system's own words: the library adds the address to them, which the setting says already."""
    return str(getattr(error, "strerror", None) or error).partition(" (while")[0]
