"""A small X11 client: which windows are shown, what colours are on the screen, how long ago the last input was, and
an end to all clients.

Only the requests that the agent needs, from the X Window System Protocol, X Version 11 (x.org/releases/X11R7.7/doc/
xproto/x11protocol.html). It asks Xvnc's own frame buffer: what it sees is what every viewer is sent.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_GET_WINDOW_ATTRIBUTES, _GET_GEOMETRY, _QUERY_TREE, _INTERN_ATOM, _GET_PROPERTY = 3, 14, 15, 16, 20
_TRANSLATE_COORDINATES, _GET_IMAGE, _QUERY_EXTENSION, _KILL_CLIENT = 40, 73, 98, 113
_SCREEN_SAVER, _SCREEN_SAVER_QUERY_INFO = b"MIT-SCREEN-SAVER", 1
_WM_CLASS, _ANY_TYPE, _Z_PIXMAP, _VIEWABLE = 67, 0, 2, 2
_COOKIE_NAME = b"MIT-MAGIC-COOKIE-1"


class XError(Exception):
    """Raised when the display refuses us or a request fails, as when a window has just gone."""


@dataclass(frozen=True)
class Area:
    """A rectangle of the screen, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Display:
    """A connection to one display on this machine."""

    def __init__(self, number: int, cookie: bytes) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5)
        self._sequence = 0
        try:
            self._socket.connect(f"/tmp/.X11-unix/X{number}")  # noqa: S108, the protocol's own address
            self._set_up(cookie)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Leave the display."""
        self._socket.close()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_up(self, cookie: bytes) -> None:
        name = _COOKIE_NAME.ljust(20, b"\0")
        hello = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(_COOKIE_NAME), len(cookie))
        self._socket.sendall(hello + name + cookie)
        status, length = struct.unpack("<BxxxxxH", self._receive(8))
        body = self._receive(4 * length)
        if status != 1:
            raise XError(f"the display refuses us: {body.rstrip(bytes(1)).decode(errors='replace')}")
        vendor, formats = struct.unpack_from("<16xH3xB", body)
        screen = 32 + (vendor + 3) // 4 * 4 + 8 * formats
        self.root, self.width, self.height = struct.unpack_from("<I16xHH", body, screen)
        self._client_list = self._intern(b"_NET_CLIENT_LIST")

    def shown(self, window_class: str) -> list[Area]:
        """Where the mapped windows of this class are (the second word of WM_CLASS, as `xprop` shows it)."""
        return [area for window in self._clients() if (area := self._area_if(window, window_class))]

    def colours(self, area: Area | None = None, lines: int = 24) -> int:
        """How many colours are to be seen on up to `lines` lines of the area, or of the whole screen."""
        area = self._clip(area or Area(0, 0, self.width, self.height))
        if not area.width or not area.height:
            return 0
        seen: set[int] = set()
        step = max(1, area.height // lines)
        for y in range(area.y + step // 2, area.y + area.height, step):
            request = struct.pack("<IhhHHI", self.root, area.x, y, area.width, 1, 0xFFFFFF)
            image = self._ask(_GET_IMAGE, _Z_PIXMAP, request)[32:]
            seen.update(memoryview(image)[: 4 * area.width].cast("I"))
        return len(seen)

    def idle_seconds(self) -> float:
        """Seconds since the last key, button or move that any viewer sent (the X Screen Saver Extension, 1.1)."""
        name = struct.pack("<Hxx", len(_SCREEN_SAVER)) + _SCREEN_SAVER
        _, present, opcode = struct.unpack_from("<8sBB", self._ask(_QUERY_EXTENSION, 0, name))
        if not present:
            raise XError("the display does not tell when the last input was")
        answer = self._ask(opcode, _SCREEN_SAVER_QUERY_INFO, struct.pack("<I", self.root))
        milliseconds: int = struct.unpack_from("<I", answer, 16)[0]
        return milliseconds / 1000

    def end_clients(self) -> None:
        """Close the connection of every client that has a window."""
        tree = self._ask(_QUERY_TREE, 0, struct.pack("<I", self.root))
        count = struct.unpack_from("<H", tree, 16)[0]
        for window in struct.unpack_from(f"<{count}I", tree, 32):
            self._send(_KILL_CLIENT, 0, struct.pack("<I", window))
        self._intern(b"WM_CLASS")  # an answer to this means that all before it was done

    def _clients(self) -> tuple[int, ...]:
        value = self._property(self.root, self._client_list)
        return struct.unpack(f"<{len(value) // 4}I", value)

    def _area_if(self, window: int, window_class: str) -> Area | None:
        try:
            names = self._property(window, _WM_CLASS).split(b"\0")
            if len(names) < 2 or names[1] != window_class.encode():
                return None
            if self._ask(_GET_WINDOW_ATTRIBUTES, 0, struct.pack("<I", window))[26] != _VIEWABLE:
                return None
            width, height = struct.unpack_from("<HH", self._ask(_GET_GEOMETRY, 0, struct.pack("<I", window)), 16)
            place = self._ask(_TRANSLATE_COORDINATES, 0, struct.pack("<IIhh", window, self.root, 0, 0))
        except XError:  # the window went away while we asked
            return None
        x, y = struct.unpack_from("<hh", place, 12)
        return Area(x, y, width, height)

    def _clip(self, area: Area) -> Area:
        left, top = max(0, area.x), max(0, area.y)
        right, bottom = min(self.width, area.x + area.width), min(self.height, area.y + area.height)
        return Area(left, top, max(0, right - left), max(0, bottom - top))

    def _intern(self, name: bytes) -> int:
        body = struct.pack("<Hxx", len(name)) + name + bytes(-len(name) % 4)
        atom: int = struct.unpack_from("<I", self._ask(_INTERN_ATOM, 0, body), 8)[0]
        return atom

    def _property(self, window: int, name: int) -> bytes:
        answer = self._ask(_GET_PROPERTY, 0, struct.pack("<IIIII", window, name, _ANY_TYPE, 0, 4096))
        width, length = answer[1], struct.unpack_from("<I", answer, 16)[0]
        return answer[32 : 32 + length * width // 8]

    def _send(self, opcode: int, detail: int, body: bytes) -> None:
        self._socket.sendall(struct.pack("<BBH", opcode, detail, 1 + len(body) // 4) + body)
        self._sequence = (self._sequence + 1) & 0xFFFF

    def _ask(self, opcode: int, detail: int, body: bytes) -> bytes:
        self._send(opcode, detail, body)
        while True:
            head = self._receive(32)
            if head[0] == 1:
                return head + self._receive(4 * struct.unpack_from("<I", head, 4)[0])
            ours = struct.unpack_from("<H", head, 2)[0] == self._sequence
            if head[0] == 0 and ours:  # an error of an earlier request, one without answer, is nobody's
                raise XError(f"request {opcode} failed with X error {head[1]}")

    def _receive(self, length: int) -> bytes:
        parts = []
        while length:
            part = self._socket.recv(length)
            if not part:
                raise XError("the display closed the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def authority(cookie: bytes) -> bytes:
    """An Xauthority file that lets its reader join any display with this cookie."""
    family_wild = 0xFFFF
    fields = (b"", b"", _COOKIE_NAME, cookie)
    return struct.pack(">H", family_wild) + b"".join(struct.pack(">H", len(field)) + field for field in fields)


def cookie_of(path: Path) -> bytes:
    """The cookie of such a file."""
    return path.read_bytes()[-16:]
