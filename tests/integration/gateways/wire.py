"""A bare WebSocket client and a bare RFB viewer: they can be slow, silent, and rude, as no browser lets one be."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from broker import rfb

DATA, CLOSE, PING, PONG = 2, 8, 9, 10
SIZE_AND_PIXELS = struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class Closed(Exception):
    """Raised when the gateway closed the connection; `code` and `reason` as it said, 1006 where it said nothing."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Wire:
    """One WebSocket. `status` is the answer to its opening request, `problem` the body of a refusal."""

    def __init__(self, address: str, path: str, headers: Mapping[str, str], *, timeout: float = 20) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self._buffer = bytearray()
        self._data = bytearray()
        self.pings = 0
        self.answers_pings = True
        self.headers: dict[str, str] = {}
        self.problem: dict[str, Any] = {}
        key = base64.b64encode(os.urandom(16)).decode()
        lines = {"Host": address, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        lines |= {"Sec-WebSocket-Key": key, **headers}
        request = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
        self.socket.sendall("\r\n".join(request).encode())
        self.status = self._answer()

    def _answer(self) -> int:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        status = int(head.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        if status != 101:
            while len(self._buffer) < int(self.headers.get("content-length", "0")):
                self._more()
            self.problem = json.loads(self._buffer or "{}")
        return status

    def send(self, data: bytes, kind: int = DATA, *, in_pieces: int = 0) -> None:
        """Send a message, masked as a client must; `in_pieces` bytes at a time, each a packet of its own."""
        length = len(data)
        if length < 126:
            size = struct.pack(">B", 0x80 | length)
        elif length < 65536:
            size = struct.pack(">BH", 0x80 | 126, length)
        else:
            size = struct.pack(">BQ", 0x80 | 127, length)
        frame = bytes([0x80 | kind]) + size + bytes(4) + data
        for start in range(0, len(frame), in_pieces or len(frame)):
            self.socket.sendall(frame[start : start + (in_pieces or len(frame))])

    def exactly(self, size: int) -> bytes:
        """So many bytes of what the other side says."""
        while len(self._data) < size:
            self._data += self.message()
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def message(self) -> bytes:
        """The next data message; pings are counted and answered, a close is raised."""
        while True:
            kind, data = self._frame()
            if kind == DATA:
                return data
            if kind == PING:
                self.pings += 1
                if self.answers_pings:
                    self.send(data, PONG)
            if kind == CLOSE:
                self.send(data, CLOSE)
                raise Closed(struct.unpack(">H", data[:2])[0] if data else 1005, data[2:].decode())

    def idle(self, pings: int) -> None:
        """Say nothing but the answers to so many pings."""
        for _ in range(pings):
            kind, data = self._frame()
            assert kind == PING
            self.send(data, PONG)

    def end(self) -> Closed:
        """How the gateway closed the connection; what it says before that is not looked at."""
        try:
            while True:
                self.message()
        except Closed as closed:
            return closed

    def _frame(self) -> tuple[int, bytes]:
        kind, size = struct.unpack(">BB", self._take(2))
        if size == 126:
            size = struct.unpack(">H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._take(8))[0]
        return kind & 15, self._take(size)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> None:
        try:
            piece = self.socket.recv(1 << 20)
        except ConnectionResetError:
            piece = b""
        if not piece:
            raise Closed(1006)
        self._buffer += piece


class Viewer(Wire):
    """A viewer of a desktop."""

    width = height = 0
    clipboards: frozenset[int] = (
        frozenset()
    )  # that came before the last picture: flags of extended ones, -1 for an old one

    def greet(self, *, in_pieces: int = 0, encodings: bool = True) -> Viewer:
        """The handshake, up to the desktop's size; then 32-bit raw pixels are asked for. Gives itself.

        Without `encodings` it does not say that it knows raw pixels, which every viewer does.
        """
        assert self.status == 101, self.problem
        assert self.exactly(12) == rfb.VERSION
        self.send(rfb.VERSION, in_pieces=in_pieces)
        assert self.exactly(2) == bytes([1, rfb.SECURITY_NONE]), "a password is asked for"
        self.send(bytes([rfb.SECURITY_NONE]))
        assert self.exactly(4) == bytes(4)
        self.send(b"\x01")
        self.width, self.height, name = struct.unpack(">HH16xI", self.exactly(24))
        self.exactly(name)
        self.send(SIZE_AND_PIXELS + struct.pack(">BxHi", 2, 1, 0) * encodings)
        return self

    def ask(self, *, again: bool = False) -> None:
        """Ask for a picture: the whole, or what has changed."""
        self.send(struct.pack(">BBHHHH", 3, int(again), 0, 0, self.width, self.height))

    def frame(self) -> bytes:
        """A whole picture, 4 bytes a pixel, as far as one update brings it."""
        self.ask()
        self.clipboards = frozenset(self._clipboards())
        pixels = b""
        for _ in range(struct.unpack(">xH", self.exactly(3))[0]):
            _, _, width, height, encoding = struct.unpack(">HHHHi", self.exactly(12))
            assert encoding == 0
            pixels += self.exactly(width * height * 4)
        return pixels

    def _clipboards(self) -> Iterator[int]:
        """Step over messages about the clipboard, up to a picture."""
        while (kind := self.exactly(1)) != b"\0":
            assert kind == b"\x03", kind
            (length,) = struct.unpack(">xxxi", self.exactly(7))
            body = self.exactly(abs(length))
            yield int.from_bytes(body[:4]) if length < 0 else -1

    def changes(self) -> bytes:
        """The next message after a picture was asked for that has changed since."""
        self.ask(again=True)
        return self.exactly(1)

    def key(self, symbol: int) -> None:
        """Press and release a key."""
        for down in (1, 0):
            self.send(struct.pack(">BBxxI", 4, down, symbol))

    def pointer(self, x: int, y: int, buttons: int = 0) -> None:
        """Move the pointer, with these buttons down."""
        self.send(struct.pack(">BBHH", 5, buttons, x, y))

    def copy(self, text: bytes) -> None:
        """Put a text into the desktop's clipboard."""
        self.send(struct.pack(">BxxxI", 6, len(text)) + text)

    def copied(self) -> bytes:
        """The text that the desktop puts into the viewer's clipboard next."""
        assert self.exactly(1) == b"\x03"
        return self.exactly(struct.unpack(">xxxI", self.exactly(7))[0])

    def is_alive(self) -> bool:
        """Whether a whole picture comes when one is asked for."""
        return len(self.frame()) == self.width * self.height * 4
