"""Who may only look moves nothing on the machine, however the bytes are cut and whatever they are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateways.greeting import BadViewer
from broker.gateways.view_only import (
    CUT_TEXT,
    EXTENDED_CLIPBOARD,
    LENGTHS,
    NEWS_ALONE,
    OPENING,
    SET_ENCODINGS,
    ViewOnly,
)

ASKED = struct.pack(">BBHHHH", 3, 1, 0, 0, 800, 600)
PIXELS = bytes([0, 0, 0, 0]) + bytes(16)
CONTINUOUS = struct.pack(">BBHHHH", 150, 1, 0, 0, 800, 600)
FENCE = bytes([248, 0, 0, 0, 0, 0, 0, 1, 3]) + b"abc"
KEY = bytes([4, 1, 0, 0, 0, 0, 0, 97])
POINTER = bytes([5, 1, 0, 10, 0, 10])
PASTE = struct.pack(">BxxxI", 6, 5) + b"hello"
EXTENDED_PASTE = struct.pack(">BxxxiI", 6, -9, 1 << 28) + b"zlib!"
RESIZE = struct.pack(">BxHHBx", 251, 800, 600, 1) + bytes(16)
POWER = bytes([250, 0, 1, 2])
QEMU_KEY = bytes([255, 0]) + bytes(10)
SOUND_ON = bytes([255, 1, 0, 0])
SOUND_FORMAT = bytes([255, 1, 0, 2]) + bytes(6)
LOOKING = [ASKED, PIXELS, CONTINUOUS, FENCE]
DOING = [KEY, POINTER, PASTE, EXTENDED_PASTE, RESIZE, POWER, QEMU_KEY, SOUND_ON, SOUND_FORMAT]


def encodings(*known: int) -> bytes:
    """A SetEncodings message."""
    return struct.pack(f">BxH{len(known)}I", SET_ENCODINGS, len(known), *known)


def test_every_message_that_is_known_is_tried_here() -> None:
    """So that one which is added to the table has to be looked at."""
    assert {message[0] for message in [*LOOKING, *DOING, encodings()]} == set(LENGTHS)


@given(
    messages=st.lists(st.sampled_from([*LOOKING, *DOING]), max_size=30),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_only_what_asks_for_pictures_goes_on(messages: list[bytes], cuts: list[int]) -> None:
    """Whole and in order, however the stream was cut."""
    stream, filter_, passed, at = b"".join(messages), ViewOnly(), b"", 0
    for cut in [*cuts, len(stream)]:
        passed += filter_.hear(stream[at : at + cut])
        at += cut
    assert passed == b"".join(message for message in messages if message in LOOKING)


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_whatever_is_said_nothing_else_reaches_the_machine(pieces: list[bytes]) -> None:
    """Random bytes either end the connection or come out as messages that only ask for pictures."""
    filter_, passed = ViewOnly(), b""
    try:
        for piece in pieces:
            passed += filter_.hear(piece)
    except BadViewer:
        return
    again = ViewOnly()
    assert again.hear(passed.replace(NEWS_ALONE, b"")) == passed
    assert not {message for message in _kinds(passed)} & {4, 5, 250, 251, 255}


def _kinds(stream: bytes) -> list[int]:
    kinds = []
    while stream:
        length = LENGTHS[stream[0]](stream[:10])
        assert length is not None
        kinds.append(stream[0])
        stream = stream[length:]
    return kinds


@pytest.mark.parametrize("known", [(0, 16), (0, EXTENDED_CLIPBOARD)])
def test_no_viewer_is_handed_the_clipboard_unasked(known: tuple[int, ...]) -> None:
    """To the server each is one that wants to hear that there is news, and no more."""
    said = ViewOnly().hear(encodings(*known))
    assert said.startswith(NEWS_ALONE), "for a moment the server would hand it over"
    passed = said.removeprefix(NEWS_ALONE)
    (number,) = struct.unpack_from(">H", passed, 2)
    listed = struct.unpack_from(f">{number}I", passed, 4)
    assert listed.count(EXTENDED_CLIPBOARD) == 1
    assert len(passed) == 4 + 4 * number
    kind, length, flags, largest = struct.unpack(">BxxxiII", NEWS_ALONE)
    assert (kind, length, largest) == (CUT_TEXT, -8, 0)
    assert not flags & (1 << 28)  # provide
    assert not flags & (1 << 25)  # request


def test_it_is_said_before_any_viewer_speaks() -> None:
    """One that never says what it knows is to the server one that wants news alone, too."""
    assert ViewOnly().hear(encodings(0)) == OPENING


def test_a_large_clipboard_is_dropped_without_being_kept() -> None:
    """A gigabyte that is announced costs nothing."""
    filter_ = ViewOnly()
    assert filter_.hear(struct.pack(">BxxxI", 6, 1 << 30)) == b""
    for _ in range(100):
        assert filter_.hear(bytes(1 << 20)) == b""
    assert len(filter_._heard) == 0


@pytest.mark.parametrize("said", [b"\x07", b"\xff\x02", b"\x02\x00\xff\xff"])
def test_what_no_viewer_says_ends_the_connection(said: bytes) -> None:
    """Nobody could say where it ends."""
    with pytest.raises(BadViewer):
        ViewOnly().hear(said)
