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
        may_be_silent: bool = False,
    ) -> None:
        """Where they `may_be_silent`, the time counts anew from the first word, and who said none goes without a word
        in the log."""
        self._name, self._selector, self._read, self._admit = name, selector, read, admit
        self._seconds, self._most, self._may_be_silent = seconds, most, may_be_silent
        self._waiting: dict[socket.socket, _Waiting] = {}  # who has waited longest first
        self._from: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting_from(self, client: str) -> int:
        """How many wait that came from this address."""
        return self._from[client]

    def enter(self, connection: socket.socket, client: str, heard: bytes = b"") -> None:
        """Wait for this client's first words, of which these were heard already."""
        if len(self._waiting) >= self._most:
            self.make_room()
        connection.setblocking(False)
        self._waiting[connection] = _Waiting(client, time.monotonic(), bytearray(heard))
        self._from[client] += 1
        self._selector.register(connection, EVENT_READ, lambda: self._hear(connection))
        if heard:
            self._hear(connection)

    def make_room(self) -> None:
        """Refuse the one who has waited longest, if any does."""
        if self._waiting:
            self._refuse(next(iter(self._waiting)), BadPacket("too many wait"))

    def expire(self, seconds: float | None = None) -> None:
        """Refuse those who have waited for too long."""
        since = time.monotonic() - (self._seconds if seconds is None else seconds)
        while self._waiting and next(iter(self._waiting.values())).since < since:
            self._refuse(next(iter(self._waiting)), BadPacket("what it wants did not come in time"))

    def close(self) -> None:
        """Refuse all."""
        for connection in list(self._waiting):
            self._refuse(connection, BadPacket("the gateway stops"))

    def _hear(self, connection: socket.socket) -> None:
        waiting = self._waiting.get(connection)
        if waiting is None:  # it was sent away for somebody who came in the same moment
            return
        was_silent = not waiting.heard
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
        elif self._may_be_silent and was_silent and waiting.heard:
            waiting.since = time.monotonic()
            self._waiting[connection] = self._waiting.pop(connection)

    def _refuse(self, connection: socket.socket, why: Exception) -> None:
        waiting = self._waiting[connection]
        if waiting.heard or not self._may_be_silent:
            log.info(f"{self._name}.refused", why=str(why), client=waiting.client)
        self._leave(connection)
        with connection, suppress(OSError):
            with suppress(BlockingIOError):
                connection.send(getattr(why, "answer", b""))
                connection.recv(LEFT_OVER)  # what is left unread would take the answer back
            connection.shutdown(socket.SHUT_RDWR)  # for a thread that may read of it still

    def _leave(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        client = self._waiting.pop(connection).client
        self._from[client] -= 1
        if not self._from[client]:
            del self._from[client]
