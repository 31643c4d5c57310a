"""The gateway's side of RFB's handshake with a viewer (RFC 6143, 7.1 to 7.3). Pure: bytes in, bytes out.

The viewer is asked for no password, because its ticket has proved who it is: the gateway has signed in to the
machine already, and hands on what the machine said of its desktop.
"""

from __future__ import annotations

from collections.abc import Callable

from broker import rfb

Answer = Callable[[bytes], bytes]


class BadViewer(Exception):
    """Raised when a viewer does not speak RFB 3.8 as the RFC says; its text says what was wrong."""


class Greeting:
    """One handshake. Send `opening` first, then what hear() answers, until `done`; `rest` came after the handshake."""

    opening = rfb.VERSION

    def __init__(self, server_init: bytes) -> None:
        self._server_init = server_init
        self._heard = bytearray()
        self._steps: list[tuple[int, Answer]] = [(12, self._version), (1, self._security), (1, self._client_init)]

    @property
    def done(self) -> bool:
        """Whether the viewer has heard all."""
        return not self._steps

    @property
    def whole(self) -> bytes:
        """All that a viewer is told in its handshake."""
        return self.opening + bytes([1, rfb.SECURITY_NONE]) + bytes(4) + self._server_init

    @property
    def rest(self) -> bytes:
        """What the viewer said beyond the handshake, for the machine."""
        return bytes(self._heard) if self.done else b""

    def hear(self, data: bytes) -> bytes:
        """Take what the viewer said, however it was cut; what to answer now, perhaps nothing."""
        self._heard += data
        answers = b""
        while self._steps and len(self._heard) >= self._steps[0][0]:
            size, answer = self._steps.pop(0)
            piece = bytes(self._heard[:size])
            del self._heard[:size]
            answers += answer(piece)
        return answers

    def _version(self, said: bytes) -> bytes:
        if said != rfb.VERSION:
            raise BadViewer("This gateway speaks RFB 3.8 only.")
        return bytes([1, rfb.SECURITY_NONE])

    def _security(self, said: bytes) -> bytes:
        if said != bytes([rfb.SECURITY_NONE]):
            raise BadViewer("That security type was not offered.")
        return bytes(4)  # SecurityResult: OK

    def _client_init(self, said: bytes) -> bytes:
        return self._server_init  # whatever the viewer asked for: every viewer shares the desktop
