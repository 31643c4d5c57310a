"""The sides that a gateway joins: plain TCP, TLS, and TLS within TLS. None waits; each raises of NOT_YET instead."""

from __future__ import annotations

import socket
import ssl
from typing import Protocol

NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
RECORD = 16 * 1024  # bytes, the most in one record of TLS, and so of one read; a full one is seldom the last
_PIECE = 1 << 16


class Side(Protocol):
    """As ssl.SSLSocket has it. What send() did not take is to be offered again, at once or later, as it was."""

    def fileno(self) -> int:
        """What to poll."""

    def setblocking(self, flag: bool, /) -> None:
        """Whether to wait."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """How many bytes were read; 0 at the end."""

    def send(self, data: memoryview, /) -> int:
        """How many bytes were taken."""

    def pending(self) -> int:
        """How many bytes were received that no poll sees."""


class Plain:
    """TCP, of which nothing is received before it is read."""

    def __init__(self, inner: socket.socket) -> None:
        self.fileno, self.setblocking = inner.fileno, inner.setblocking
        self.recv_into, self.send = inner.recv_into, inner.send

    def pending(self) -> int:
        """None, ever."""
        return 0


class Within:
    """TLS within a connection that is TLS already, which Python's sockets cannot be."""

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext) -> None:
        self.fileno, self.setblocking = outer.fileno, outer.setblocking
        self._outer = outer
        self._heard, self._to_say = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._heard, self._to_say)
        self._taken, self._unsent = 0, memoryview(b"")

    def do_handshake(self) -> None:
        """Wait for it to be done, as long as the connection's own time-out lets us."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._outer.sendall(self._to_say.read())
                if not self._hear():
                    raise ConnectionResetError("it left in the middle of its handshake") from None
            else:
                self._outer.sendall(self._to_say.read())
                return

    def recv_into(self, buffer: memoryview, /) -> int:
        """As a socket's."""
        while True:
            try:
                size: int = self._tls.read(len(buffer), buffer)  # type: ignore[assignment]
                return size
            except ssl.SSLZeroReturnError:
                return 0
            except ssl.SSLWantReadError:
                if not self._hear():
                    return 0

    def send(self, data: memoryview, /) -> int:
        """As a socket's: what is encrypted already goes on where it stopped."""
        if not self._unsent:
            self._taken = self._tls.write(data[:_PIECE])
            self._unsent = memoryview(self._to_say.read())
        while self._unsent:
            self._unsent = self._unsent[self._outer.send(self._unsent) :]
        return self._taken

    def pending(self) -> int:
        """What is decrypted, or may be."""
        return self._tls.pending() + self._heard.pending + self._outer.pending()

    def _hear(self) -> int:
        return self._heard.write(self._outer.recv(_PIECE))
