"""Clients whose first words are awaited: each costs the listening process a socket, and nobody a process.

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
from typing import Generic, TypeVar

import structlog

from broker.gateways.heads import BadHead
from broker.gateways.x224 import BadPacket

log = structlog.get_logger()

MOST = 256  # who wait at a time
LEFT_OVER = 64 * 1024  # bytes

Words = TypeVar("Words")
Admit = Callable[[socket.socket, str, Words], None]
# What a client said first, once all of it is there, of a socket and what was read of it before; None before that.
Read = Callable[[socket.socket, bytearray], Words | None]


@dataclass
class _Waiting:
    client: str
    since: float
    heard: bytearray = field(default_factory=bytearray)


class Lobby(Generic[Words]):
    """Hands each connection on with its first words, or refuses it."""

    def __init__(
        self,
        name: str,
        selector: BaseSelector,
        read: Read[Words],
        admit: Admit[Words],
        *,
        seconds: float,
        most: int = MOST,
    ) -> None:
        self._name, self._selector, self._read, self._admit = name, selector, read, admit
        self._seconds, self._most = seconds, most
        self._waiting: dict[socket.socket, _Waiting] = {}  # who has waited longest first
        self._from: Counter[str] = Counter()

    def waiting_from(self, client: str) -> int:
        """How many wait that came from this address."""
        return self._from[client]

    def enter(self, connection: socket.socket, client: str) -> None:
        """Wait for this client's first words."""
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
            self._refuse(connection, BadPacket("what it wants did not come in time"))

    def _hear(self, connection: socket.socket) -> None:
        waiting = self._waiting.get(connection)
        if waiting is None:  # it was sent away for somebody who came in the same moment
            return
        try:
            words = self._read(connection, waiting.heard)
        except BlockingIOError:
            return
        except (BadPacket, BadHead, OSError) as error:
            self._refuse(connection, error)
            return
        if words is not None:
            self._leave(connection)
            self._admit(connection, waiting.client, words)

    def _refuse(self, connection: socket.socket, why: Exception) -> None:
        log.info(f"{self._name}.refused", why=str(why), client=self._waiting[connection].client)
        self._leave(connection)
        with connection, suppress(OSError):
            connection.send(getattr(why, "answer", b""))
            connection.recv(LEFT_OVER)  # what is left unread would take the answer back

    def _leave(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        client = self._waiting.pop(connection).client
        self._from[client] -= 1
        if not self._from[client]:
            del self._from[client]
