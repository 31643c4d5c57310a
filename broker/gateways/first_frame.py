"""Sees the first picture go by, in what a machine sends to its viewer (RFC 6143, 7.6). Pure: bytes in.

A desktop's first update often holds no pixel, only pseudo-rectangles about its size, its pointer or its keyboard.
Those are stepped over; anything that is not known here counts as a picture, so that a strange server costs a
little truth, never the connection. Sizes suppose four bytes a pixel, as noVNC asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

Size = Callable[[int, int, bytes], int | None]  # of a body that begins with these bytes; None: more must be seen first


def _fixed(size: int) -> Size:
    return lambda width, height, body: size


def _named(width: int, height: int, body: bytes) -> int | None:
    return 4 + struct.unpack_from(">I", body)[0] if len(body) >= 4 else None


def _screens(width: int, height: int, body: bytes) -> int | None:
    return 4 + 16 * body[0] if body else None


def _x_cursor(width: int, height: int, body: bytes) -> int:
    return 6 + 2 * _mask(width, height) if width and height else 0


def _cursor(width: int, height: int, body: bytes) -> int:
    return width * height * 4 + _mask(width, height)


def _alpha_cursor(width: int, height: int, body: bytes) -> int:
    return 4 + width * height * 4


def _vmware_cursor(width: int, height: int, body: bytes) -> int | None:
    return 2 + width * height * (4 if body[0] else 8) if body else None


def _mask(width: int, height: int) -> int:
    return height * ((width + 7) // 8)


PSEUDO: dict[int, Size] = {
    -223: _fixed(0),  # DesktopSize
    -224: _fixed(0),  # LastRect
    -232: _fixed(0),  # PointerPos
    -239: _cursor,
    -240: _x_cursor,
    -258: _fixed(0),  # QEMU extended key events
    -261: _fixed(1),  # LED state
    -307: _named,  # DesktopName
    -308: _screens,  # ExtendedDesktopSize
    -314: _alpha_cursor,
    -316: _fixed(0),  # extended mouse buttons
    0x574D5664: _vmware_cursor,
    0x574D5668: _fixed(4),  # VMware LED state
}


def _update(data: bytes) -> int:
    return 4  # its rectangles follow


def _colours(data: bytes) -> int | None:
    return 6 + 6 * struct.unpack_from(">H", data, 4)[0] if len(data) >= 6 else None


def _cut_text(data: bytes) -> int | None:
    return 8 + abs(struct.unpack_from(">i", data, 4)[0]) if len(data) >= 8 else None


def _one_byte(data: bytes) -> int:
    return 1


def _fence(data: bytes) -> int | None:
    return 9 + data[8] if len(data) >= 9 else None


UPDATE = 0
MESSAGES: dict[int, Callable[[bytes], int | None]] = {
    UPDATE: _update,
    1: _colours,
    2: _one_byte,  # Bell
    3: _cut_text,
    150: _one_byte,  # EndOfContinuousUpdates
    248: _fence,
}
LONGEST_HEAD = 16  # bytes that say how long a message or a rectangle is


class FirstFrame:
    """Watches for the first rectangle of pixels; keeps no more than a head at a time."""

    def __init__(self) -> None:
        self._head = b""  # what has come of the next one
        self._skip = 0  # bytes until the next one
        self._rectangles = 0
        self.seen = False

    def watch(self, data: bytes) -> bool:
        """Take what the machine sent; True in the one call in which the first picture begins."""
        if self.seen:
            return False
        data, at = self._head + data, self._skip
        while at < len(data) and (size := self._size(data[at : at + LONGEST_HEAD])):
            at += size
        self._head, self._skip = data[at : at + LONGEST_HEAD], max(0, at - len(data))
        return self.seen

    def _size(self, head: bytes) -> int:
        """Of the message or rectangle that begins so; 0 for a picture, and while it cannot be known."""
        return (self._rectangle(head) if self._rectangles else self._message(head)) or 0

    def _message(self, head: bytes) -> int | None:
        known = MESSAGES.get(head[0])
        if known is None:
            self.seen = True
            return None
        if head[0] == UPDATE:
            if len(head) < 4:
                return None
            self._rectangles = struct.unpack_from(">H", head, 2)[0]
        return known(head)

    def _rectangle(self, head: bytes) -> int | None:
        if len(head) < 12:
            return None
        width, height, encoding = struct.unpack_from(">HHi", head, 4)
        body = PSEUDO.get(encoding)
        if body is None:
            self.seen = True
            return None
        size = body(width, height, head[12:])
        if size is None:
            return None
        self._rectangles -= 1
        return 12 + size
