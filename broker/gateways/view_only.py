"""Lets a viewer look and nothing else: of what it says, only what asks for pictures goes on to the machine.

Client messages are those of RFC 6143, 7.5, and the community's register (github.com/rfbproto/rfbproto): keys, the
pointer, the clipboard, resizing and what reaches beyond the screen are dropped; what is unknown ends the connection,
because nobody can say where it ends. Pure: bytes in, bytes out, however they were cut.

The clipboard is kept from the viewer as well. A server hands it to viewers that know nothing of the extended
clipboard, unasked; so every viewer is made one that knows of it, and that wants to be told of news alone. That is
said of it in one breath with the gateway's own greeting, for one that is slow to greet, or never says a word, would be
handed the clipboard too; and what it wants is said before what it knows, so that in no moment the server knows the one
without the other. What the viewer then asks for is dropped here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from broker.gateways.greeting import BadViewer

SET_PIXEL_FORMAT, SET_ENCODINGS, UPDATE_REQUEST, KEY, POINTER, CUT_TEXT = 0, 2, 3, 4, 5, 6
CONTINUOUS_UPDATES, FENCE, XVP, SET_DESKTOP_SIZE, QEMU = 150, 248, 250, 251, 255
EXTENDED_CLIPBOARD = 0xC0A1E5CE
CAPS, NOTIFY, TEXT = 1 << 24, 1 << 27, 1
NEWS_ALONE = struct.pack(">BxxxiII", CUT_TEXT, -8, CAPS | NOTIFY | TEXT, 0)
OPENING = NEWS_ALONE + struct.pack(">BxHiI", SET_ENCODINGS, 2, 0, EXTENDED_CLIPBOARD)  # before any viewer speaks
MOST_ENCODINGS = 1024
PASSED = frozenset({SET_PIXEL_FORMAT, SET_ENCODINGS, UPDATE_REQUEST, CONTINUOUS_UPDATES, FENCE})

# How long a message is, from its beginning; None while too little of it is there to say.
Length = Callable[[bytes], int | None]


def _fixed(length: int) -> Length:
    return lambda _: length


def _encodings(head: bytes) -> int | None:
    if len(head) < 4:
        return None
    (number,) = struct.unpack_from(">H", head, 2)
    if number > MOST_ENCODINGS:
        raise BadViewer("No viewer knows so many encodings.")
    return 4 + 4 * int(number)


def _cut_text(head: bytes) -> int | None:
    """The length is negative where the clipboard is an extended one."""
    return 8 + abs(struct.unpack_from(">i", head, 4)[0]) if len(head) >= 8 else None


def _fence(head: bytes) -> int | None:
    return 9 + head[8] if len(head) >= 9 else None


def _desktop_size(head: bytes) -> int | None:
    return 8 + 16 * head[6] if len(head) >= 7 else None


def _qemu(head: bytes) -> int | None:
    """A key with its code, or sound that is switched or set."""
    if len(head) < 2 or (head[1] == 1 and len(head) < 4):
        return None
    if head[1] == 0:
        return 12
    if head[1] != 1:
        raise BadViewer("This message is not known.")
    return 10 if head[2:4] == b"\x00\x02" else 4


LENGTHS: dict[int, Length] = {
    SET_PIXEL_FORMAT: _fixed(20),
    SET_ENCODINGS: _encodings,
    UPDATE_REQUEST: _fixed(10),
    KEY: _fixed(8),
    POINTER: _fixed(6),
    CUT_TEXT: _cut_text,
    CONTINUOUS_UPDATES: _fixed(10),
    FENCE: _fence,
    XVP: _fixed(4),
    SET_DESKTOP_SIZE: _desktop_size,
    QEMU: _qemu,
}


class ViewOnly:
    """One viewer's messages. hear() what it said; the answer is what may go on to the machine."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._skip = 0  # bytes of a dropped message that are still to come

    def hear(self, data: bytes) -> bytes:
        """Take what the viewer said; raise BadViewer where it is nothing that a viewer says."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._heard += data[skipped:]
        return b"".join(self._messages())

    def _messages(self) -> Iterator[bytes]:
        while self._heard and not self._skip:
            kind = self._heard[0]
            if kind not in LENGTHS:
                raise BadViewer("This message is not known.")
            length = LENGTHS[kind](bytes(self._heard[:10]))
            if length is None or (kind in PASSED and len(self._heard) < length):
                return
            message = bytes(self._heard[:length])
            self._skip = length - len(message)  # of a dropped one, which may be large, nothing is kept
            del self._heard[:length]
            if kind in PASSED:
                yield _without_clipboard(message) if kind == SET_ENCODINGS else message


def _without_clipboard(message: bytes) -> bytes:
    """That the viewer wants to be told of the clipboard's news alone, and its encodings."""
    known = list(struct.unpack_from(f">{(len(message) - 4) // 4}I", message, 4))
    if EXTENDED_CLIPBOARD not in known:
        known.append(EXTENDED_CLIPBOARD)
    return NEWS_ALONE + struct.pack(f">BxH{len(known)}I", SET_ENCODINGS, len(known), *known)
