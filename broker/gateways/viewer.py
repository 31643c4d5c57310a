"""The library's WebSocket, for a loop that never waits inside a send and never keeps more than it should."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress

from websockify.websocket import WebSocketWantReadError, WebSocketWantWriteError
from websockify.websockifyserver import CompatibleWebSocket

LARGEST_MESSAGE = 4 * 1024 * 1024  # bytes from a viewer: keys, the pointer, and at most a large clipboard
MOST_UNSENT = 1024 * 1024  # bytes that wait for a viewer, beyond which its pings stay unanswered


class Left(Exception):
    """Raised when the viewer closed the connection, or broke the protocol and was told so."""


class TooMuch(Exception):
    """Raised when a viewer sends a message that no viewer would."""


class Viewer(CompatibleWebSocket):  # type: ignore[misc]
    """A viewer's socket: what cannot be sent at once waits in it, and is sent by flush()."""

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._send_buffer)

    def flush(self) -> None:
        """Send what can be sent now."""
        self._flush()

    def say(self, data: bytes) -> None:
        """Send one message, as far as it goes now."""
        if data:
            self.sendmsg(data)

    def said(self) -> bytes:
        """What the viewer said, once its socket can be read; perhaps nothing yet. Raises Left."""
        pieces = []
        with suppress(WebSocketWantReadError):
            while (piece := self.recvmsg()) is not None:
                pieces.append(piece)
                if not self.pending():
                    break
            else:
                raise Left(f"the viewer left ({self.close_code})")
        if self._sent_close:  # the library said why, but goes on listening
            raise Left("the viewer broke the WebSocket protocol")
        return b"".join(pieces)

    def handle_ping(self, data: bytes) -> None:
        """Answer, unless the viewer pings but does not take the answers."""
        if self.unsent < MOST_UNSENT:
            super().handle_ping(data)

    def goodbye(self, code: int, reason: str, *, seconds: float) -> None:
        """Close, and wait so long for the viewer's own close, so that the reason is not lost on the way."""
        deadline = time.monotonic() + seconds
        with suppress(OSError, TooMuch):
            self.shutdown(socket.SHUT_RDWR, code, reason)
            while self.socket is not None and (left := deadline - time.monotonic()) > 0:
                readable, _, _ = select.select([self], [self] * bool(self.unsent), [], left)
                self.flush()
                with suppress(WebSocketWantReadError):
                    if readable and self.socket is not None:
                        self.recvmsg()

    def _flush(self) -> None:
        if self.socket is not None:
            with suppress(WebSocketWantWriteError):
                super()._flush()

    def _recv(self) -> bool:
        if len(self._recv_buffer) + len(self._partial_msg) > LARGEST_MESSAGE:
            raise TooMuch(f"more than {LARGEST_MESSAGE} bytes in one message")
        return bool(super()._recv())
