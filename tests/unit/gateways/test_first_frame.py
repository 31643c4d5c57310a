"""The first picture is seen wherever the network cuts what the machine sends."""

from __future__ import annotations

import struct
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateways.first_frame import FirstFrame


def update(*rectangles: bytes) -> bytes:
    return struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles)


def rectangle(encoding: int, body: bytes = b"", width: int = 0, height: int = 0) -> bytes:
    return struct.pack(">HHHHi", 0, 0, width, height, encoding) + body


def cut_text(text: bytes, *, extended: bool = False) -> bytes:
    return struct.pack(">Bxxxi", 3, -len(text) if extended else len(text)) + text


# A body that is all zeros would be stepped over by luck; one of 0x07 is no message that is known.
CURSOR = b"\7" * (5 * 3 * 4 + 3 * 1)
PSEUDO = {
    "size": rectangle(-223, width=800, height=600),
    "last": rectangle(-224),
    "pointer place": rectangle(-232),
    "cursor": rectangle(-239, CURSOR, 5, 3),
    "no cursor": rectangle(-239),
    "X cursor": rectangle(-240, b"\7" * (6 + 2 * 3 * 2), 9, 3),
    "no X cursor": rectangle(-240),
    "keys": rectangle(-258),
    "lights": rectangle(-261, b"\7"),
    "name": rectangle(-307, struct.pack(">I", 4) + b"\7" * 4),
    "screens": rectangle(-308, b"\2\0\0\0" + b"\7" * 32, 800, 600),
    "alpha cursor": rectangle(-314, b"\7" * (4 + 5 * 3 * 4), 5, 3),
    "buttons": rectangle(-316),
    "VMware cursor": rectangle(0x574D5664, b"\1\0" + b"\7" * 60, 5, 3),
    "VMware masks": rectangle(0x574D5664, b"\0\0" + b"\7" * 120, 5, 3),
    "VMware lights": rectangle(0x574D5668, b"\7" * 4),
}
NO_PICTURE = {
    "empty update": update(),
    "colours": struct.pack(">BxHH", 1, 0, 2) + b"\7" * 12,
    "bell": b"\2",
    "clipboard": cut_text(b"\7" * 30),
    "extended clipboard": cut_text(b"\7" * 30, extended=True),
    "end of continuous updates": b"\x96",
    "fence": struct.pack(">B3xIB", 248, 0, 5) + b"\7" * 5,
} | {name: update(body) for name, body in PSEUDO.items()}
PICTURE = update(rectangle(0, width=2, height=2))


@pytest.mark.parametrize("name", NO_PICTURE)
def test_what_shows_no_pixel_is_stepped_over(name: str) -> None:
    """It is no picture, and what follows it is understood."""
    first = FirstFrame()
    assert not first.watch(NO_PICTURE[name])
    assert first.watch(PICTURE), "lost its place"


messages = st.lists(
    st.one_of(
        st.sampled_from(list(NO_PICTURE.values())),
        st.lists(st.sampled_from(list(PSEUDO.values())), max_size=4).map(lambda some: update(*some)),
        st.binary(max_size=40).map(cut_text),
    ),
    max_size=6,
).map(b"".join)
last = st.sampled_from([PICTURE, update(PSEUDO["cursor"], rectangle(7)), b"\x42an unknown message"])


def seen_after(before: bytes, picture: bytes, cuts: list[int]) -> int:
    """How much of the stream had come when the picture was seen."""
    stream = before + picture
    places = sorted({*(cut for cut in cuts if cut < len(stream)), 0, len(stream)})
    first, told = FirstFrame(), []
    for start, stop in pairwise(places):
        if first.watch(stream[start:stop]):
            told.append(stop)
    assert len(told) == 1, "told of once"
    return told[0]


@given(messages, last, st.lists(st.integers(0, 400), max_size=30))
def test_it_is_seen_once_wherever_the_stream_is_cut(before: bytes, picture: bytes, cuts: list[int]) -> None:
    """Never in what comes before, and not later than the piece that says that it begins."""
    begins = seen_after(before, picture, list(range(400)))  # byte by byte
    assert len(before) < begins <= len(before) + len(picture)
    places = sorted({*cuts, len(before + picture)})
    assert seen_after(before, picture, cuts) == next(place for place in places if place >= begins)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_any_bytes_at_all_are_survived(noise: bytes, cuts: list[int]) -> None:
    """A strange server costs a little truth, never the connection; and the cuts change nothing."""
    whole = FirstFrame()
    whole.watch(noise)
    pieces, start = FirstFrame(), 0
    for stop in (*sorted(cuts), len(noise)):
        pieces.watch(noise[start:stop])
        start = max(start, stop)
    assert pieces.seen == whole.seen


def test_a_large_clipboard_is_not_kept() -> None:
    """Only its head is looked at; the rest goes by."""
    first, piece = FirstFrame(), bytes(1024 * 1024)
    tracemalloc.start()
    first.watch(struct.pack(">Bxxxi", 3, 64 * len(piece)))
    for _ in range(64):
        first.watch(piece)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * len(piece)
    assert first.watch(PICTURE)


def test_many_small_messages_in_one_piece_cost_no_more_than_their_bytes() -> None:
    """A piece of nothing but empty updates is stepped through, not copied at each step."""
    first = FirstFrame()
    for _ in range(20):
        assert not first.watch(update() * 65536)
    assert first.watch(PICTURE)
