"""Clients whose first packet is awaited: each costs the listening process a socket, and nobody a process.

So silence, trickles and garbage never take a desktop's place. Where too many wait, the one that has waited longest
goes: who has a ticket shows it at once.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from selectors import EVENT_READ, BaseSelector

import structlog

from broker.gateways import x224
from broker.gateways.x224 import BadPacket, Request

log = structlog.get_logger()

MOST = 256  # who wait at a time

Admit = Callable[[socket.socket, str, Request], None]


@dataclass
class _Waiting:
    client: str
    since: float
    heard: bytearray = field(default_factory=bytearray)


class Lobby:
    """Hands each connection on with its request, or refuses it."""

    def __init__(self, selector: BaseSelector, admit: Admit, *, seconds: float, most: int = MOST) -> None:
        self._selector, self._admit, self._seconds, self._most = selector, admit, seconds, most
        self._waiting: dict[socket.socket, _Waiting] = {}  # who has waited longest first
        self._from: Counter[str] = Counter()

    def waiting_from(self, client: str) -> int:
        """How many wait that came from this address."""
        return self._from[client]

    def enter(self, connection: socket.socket, client: str) -> None:
        """Wait for this client's first packet."""
        if len(self._waiting) >= self._most:
            self._refuse(next(iter(self._waiting)), BadPacket("too many wait"))
        connection.setblocking(False)
        self._waiting[connection] = _Waiting(client, time.monotonic())
        self._from[client] += 1
        self._selector.register(connection, EVENT_READ, lambda: self._hear(connection))

    def expire(self) -> None:
        """Refuse those who have waited for too long."""
        since = time.monotonic() - self._seconds
        for connection in [each for each, waiting in self._waiting.items() if waiting.since < since]:
            self._refuse(connection, BadPacket("its first packet did not come in time"))

    def _hear(self, connection: socket.socket) -> None:
        waiting = self._waiting[connection]
        try:
            data = connection.recv(x224.LARGEST + 1 - len(waiting.heard))
            waiting.heard += data
            request = x224.read_request(bytes(waiting.heard))
            if not data:
                raise BadPacket("it left")
        except BlockingIOError:
            return
        except (BadPacket, OSError) as error:
            self._refuse(connection, error)
            return
        if request is not None:
            self._leave(connection)
            self._admit(connection, waiting.client, request)

    def _refuse(self, connection: socket.socket, why: Exception) -> None:
        log.info("rdp.refused", why=str(why), client=self._waiting[connection].client)
        self._leave(connection)
        with connection, suppress(OSError):
            connection.send(getattr(why, "answer", b""))

    def _leave(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        client = self._waiting.pop(connection).client
        self._from[client] -= 1
        if not self._from[client]:
            del self._from[client]
