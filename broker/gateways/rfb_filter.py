"""Lets go on to the machine what a viewer may say: all that asks for pictures; keys, the pointer and the window's size
where it may control; the clipboard in each direction and sound where the policy allows them.

Client messages are those of RFC 6143, 7.5, and the community's register (github.com/rfbproto/rfbproto). What may not go
on is dropped; what is unknown ends the connection, because nobody can say where it ends. Pure: bytes in, bytes out,
however they were cut.

Out of the desktop the clipboard is kept from a viewer by what the server is told. A server hands it to viewers that
know nothing of the extended clipboard, unasked; so every such viewer is made one that knows of it, and that wants to be
told of news alone. That is said of it in one breath with the gateway's own greeting, for one that is slow to greet, or
never says a word, would be handed the clipboard too; and what it wants is said before what it knows, so that in no
moment the server knows the one without the other. What the viewer then asks for is dropped here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from broker.gateways.greeting import BadViewer
from broker.settings import Policy

SET_PIXEL_FORMAT, SET_ENCODINGS, UPDATE_REQUEST, KEY, POINTER, CUT_TEXT = 0, 2, 3, 4, 5, 6
CONTINUOUS_UPDATES, FENCE, XVP, SET_DESKTOP_SIZE, QEMU = 150, 248, 250, 251, 255
EXTENDED_CLIPBOARD = 0xC0A1E5CE
EXTENDED_BUTTONS = -316 & 0xFFFFFFFF  # with it, messages of the pointer have two lengths
TEXT, CAPS, REQUEST, PEEK, NOTIFY, PROVIDE = 1, *(1 << bit for bit in range(24, 29))
ACTIONS = 0xFF000000  # of which an extended message of the clipboard has one
MOST_ENCODINGS = 1024
HEAD = 12  # bytes that say of any message how long it is, and what
PICTURES = frozenset({SET_PIXEL_FORMAT, SET_ENCODINGS, UPDATE_REQUEST, CONTINUOUS_UPDATES, FENCE})

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


@dataclass(frozen=True)
class Passing:
    """What goes on to the machine, besides what asks for pictures."""

    control: bool
    clipboard_in: bool
    clipboard_out: bool
    audio: bool

    @property
    def all(self) -> bool:
        """Whether there is nothing to hold back."""
        return self.control and self.clipboard_in and self.clipboard_out and self.audio

    def goes_on(self, head: bytes) -> bool:
        """Whether the message that begins so does."""
        if head[0] == CUT_TEXT:
            return self._of_clipboard(head)
        if head[0] == QEMU and head[1] == 1:
            return self.audio
        return self.control or head[0] in PICTURES

    def _of_clipboard(self, head: bytes) -> bool:
        (length,) = struct.unpack_from(">i", head, 4)
        if length >= 0:
            return self.clipboard_in
        action = struct.unpack_from(">I", head, 8)[0] & ACTIONS if length <= -4 else 0
        if action & CAPS or action in (REQUEST, PEEK):
            return self.clipboard_out
        return action in (NOTIFY, PROVIDE) and self.clipboard_in

    @property
    def wants(self) -> bytes:
        """What a viewer wants of the clipboard that must not be handed it: news alone. The desktop may ask for the
        viewer's own where that goes in."""
        return struct.pack(">BxxxiII", CUT_TEXT, -8, CAPS | NOTIFY | TEXT | (REQUEST if self.clipboard_in else 0), 0)

    @property
    def opening(self) -> bytes:
        """What the machine is told before any viewer speaks."""
        return b"" if self.clipboard_out else self.wants + _encodings_message([0, EXTENDED_CLIPBOARD])


def passing(policy: Policy, *, view_only: bool) -> Passing:
    """Who may only look passes nothing else, whatever the policy."""
    may = (policy.clipboard_in, policy.clipboard_out, policy.audio)
    return Passing(not view_only, *(each and not view_only for each in may))


class Filter:
    """One viewer's messages. hear() what it said; the answer is what may go on to the machine."""

    def __init__(self, passing: Passing) -> None:
        self._passing = passing
        self._heard = bytearray()
        self._left = 0  # bytes of the present message that are still to come
        self._goes_on = False

    def hear(self, data: bytes) -> bytes:
        """Take what the viewer said; raise BadViewer where it is nothing that a viewer says."""
        self._heard += data
        return b"".join(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        """Of a message, which may be large, nothing is kept but its head."""
        while self._heard and (self._left or self._begins()):
            piece = bytes(self._heard[: self._left])
            self._left -= len(piece)
            del self._heard[: len(piece)]
            if self._goes_on:
                yield piece

    def _begins(self) -> bool:
        """Whether enough of the next message is there to say how long it is, and what becomes of it."""
        kind, head = self._heard[0], bytes(self._heard[:HEAD])
        if kind not in LENGTHS:
            raise BadViewer("This message is not known.")
        length = LENGTHS[kind](head)
        if length is None or len(head) < min(length, HEAD):
            return False
        if kind == SET_ENCODINGS:
            if len(self._heard) < length:
                return False
            known = self._known(bytes(self._heard[:length]))
            self._heard[:length] = known
            length = len(known)
        self._left, self._goes_on = length, self._passing.goes_on(head)
        return True

    def _known(self, message: bytes) -> bytes:
        """The encodings that the viewer knows, but those that must not be used; and what it wants of the clipboard."""
        listed = struct.unpack_from(f">{(len(message) - 4) // 4}I", message, 4)
        known = [each for each in listed if each != EXTENDED_BUTTONS]
        if self._passing.clipboard_out:
            return _encodings_message(known)
        return self._passing.wants + _encodings_message([*known, *{EXTENDED_CLIPBOARD}.difference(known)])


def _encodings_message(known: Sequence[int]) -> bytes:
    return struct.pack(f">BxH{len(known)}I", SET_ENCODINGS, len(known), *known)
