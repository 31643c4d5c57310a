"""A client's socket that keeps a thread waiting for a bounded time: only what is taken or given earns more of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ECONNRESET
from typing import Any

import structlog

from web.server.request import Request

log = structlog.get_logger()

ANSWER = 208 * 1024  # bytes of an answer that a client need not take before the thread is free; the kernel doubles it
SO_BUF_LOCK = 72  # of the kernel's asm-generic/socket.h


@dataclass(frozen=True)
class Patience:
    """How long a client may keep a thread waiting in all, and with how many bytes it earns another second."""

    seconds: float = 60.0
    bytes_a_second: float = 4096


class PatientSocket(socket.socket):
    """Bounds what gunicorn sends and what it is sent of a large body. WebSockets use other methods, and may wait."""

    def __init__(self, connection: socket.socket, patience: Patience) -> None:
        """Takes the connection over."""
        super().__init__(connection.family, connection.type, connection.proto, fileno=connection.detach())
        self._patience, self._left, self._sent = patience, patience.seconds, 0

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        """Send this, or give the client up."""
        self._sent += len(data)
        if self._sent - len(data) <= ANSWER < self._sent:
            with suppress(OSError):  # before Linux 5.14
                self.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)  # as much as a fast and long link takes
        self._left += len(data) / self._patience.bytes_a_second
        with self._waiting():
            super().sendall(data, flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send one of the pages' files, which fits into what a client need not take."""
        with self._waiting():
            return super().sendfile(file, offset, count)

    def receive(self, most: int) -> bytes:
        """What comes next, or give the client up."""
        with self._waiting():
            piece = self.recv(most)
        earned = len(piece) / self._patience.bytes_a_second
        self._left = min(self._left + earned, self._patience.seconds)
        return piece

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        began = time.monotonic()
        self.settimeout(max(self._left, 0.001))
        try:
            yield
        except TimeoutError:
            log.info("web.too-slow")
            raise ConnectionResetError(ECONNRESET, "the client is too slow") from None
        finally:
            self._left = min(self._left - (time.monotonic() - began), self._patience.seconds)


class Incoming:
    """What gunicorn's parser reads one request from: what is here, then the rest of its large body."""

    def __init__(self, request: Request, connection: PatientSocket) -> None:
        self._here, self._connection = request.here, connection
        self.missing = request.missing

    def recv(self, most: int) -> bytes:
        """The next piece; nothing at the end of the request."""
        if self._here:
            piece, self._here = self._here[:most], self._here[most:]
            return piece
        piece = self._connection.receive(min(most, self.missing)) if self.missing else b""
        self.missing -= len(piece)
        return piece
