"""Only what a viewer may say reaches the machine, however the bytes are cut and whatever they are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateways.greeting import BadViewer
from broker.gateways.rfb_filter import (
    CUT_TEXT,
    EXTENDED_BUTTONS,
    EXTENDED_CLIPBOARD,
    LENGTHS,
    SET_ENCODINGS,
    Filter,
    Passing,
    passing,
)
from broker.settings import Policy

LOOK = Passing(control=False, clipboard_in=False, clipboard_out=False, audio=False)
NEWS_ALONE = LOOK.wants
ASKED = struct.pack(">BBHHHH", 3, 1, 0, 0, 800, 600)
PIXELS = bytes([0, 0, 0, 0]) + bytes(16)
CONTINUOUS = struct.pack(">BBHHHH", 150, 1, 0, 0, 800, 600)
FENCE = bytes([248, 0, 0, 0, 0, 0, 0, 1, 3]) + b"abc"
KEY = bytes([4, 1, 0, 0, 0, 0, 0, 97])
POINTER = bytes([5, 1, 0, 10, 0, 10])
PASTE = struct.pack(">BxxxI", 6, 5) + b"hello"
EXTENDED_PASTE = struct.pack(">BxxxiI", 6, -9, 1 << 28) + b"zlib!"
IN_NEWS = struct.pack(">BxxxiI", 6, -4, 1 << 27 | 1)
CAPABILITIES = struct.pack(">BxxxiII", 6, -8, 0x1F << 24 | 1, 1 << 20)
CONTENT_ASKED = struct.pack(">BxxxiI", 6, -4, 1 << 25 | 1)
NEWS_ASKED = struct.pack(">BxxxiI", 6, -4, 1 << 26)
TWO_AT_ONCE = struct.pack(">BxxxiI", 6, -4, 1 << 28 | 1 << 25 | 1)
TOO_SHORT = struct.pack(">Bxxxi", 6, -3) + bytes(3)
RESIZE = struct.pack(">BxHHBx", 251, 800, 600, 1) + bytes(16)
POWER = bytes([250, 0, 1, 2])
QEMU_KEY = bytes([255, 0]) + bytes(10)
SOUND_ON = bytes([255, 1, 0, 0])
SOUND_FORMAT = bytes([255, 1, 0, 2]) + bytes(6)
LOOKING = [ASKED, PIXELS, CONTINUOUS, FENCE]
CONTROL = [KEY, POINTER, RESIZE, POWER, QEMU_KEY]
IN, OUT = [PASTE, EXTENDED_PASTE, IN_NEWS], [CAPABILITIES, CONTENT_ASKED, NEWS_ASKED]
SOUND, ODD = [SOUND_ON, SOUND_FORMAT], [TWO_AT_ONCE, TOO_SHORT]
DOING = [*CONTROL, *IN, *OUT, *SOUND, *ODD]


def encodings(*known: int) -> bytes:
    """A SetEncodings message."""
    return struct.pack(f">BxH{len(known)}I", SET_ENCODINGS, len(known), *known)


def test_every_message_that_is_known_is_tried_here() -> None:
    """So that one which is added to the table has to be looked at."""
    assert {message[0] for message in [*LOOKING, *DOING, encodings()]} == set(LENGTHS)


@given(
    may=st.builds(Passing, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    messages=st.lists(st.sampled_from([*LOOKING, *DOING]), max_size=30),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_only_what_is_allowed_goes_on(may: Passing, messages: list[bytes], cuts: list[int]) -> None:
    """Whole and in order, however the stream was cut; each direction of the clipboard by itself."""
    stream, filter_, passed, at = b"".join(messages), Filter(may), b"", 0
    for cut in [*cuts, len(stream)]:
        passed += filter_.hear(stream[at : at + cut])
        at += cut
    allowed = [*LOOKING, *CONTROL * may.control, *IN * may.clipboard_in, *OUT * may.clipboard_out, *SOUND * may.audio]
    assert passed == b"".join(message for message in messages if message in allowed)


@given(policy=st.builds(Policy, **dict.fromkeys(Policy.model_fields, st.booleans())), view_only=st.booleans())
def test_who_may_only_look_passes_nothing_else_whatever_the_policy(policy: Policy, view_only: bool) -> None:
    """And who may control passes what the policy allows; without a filter where that is everything."""
    may = passing(policy, view_only=view_only)
    own = (policy.clipboard_in, policy.clipboard_out, policy.audio)
    assert may == (LOOK if view_only else Passing(True, *own))
    assert may.all == (not view_only and all(own))


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_whatever_is_said_nothing_else_reaches_the_machine(pieces: list[bytes]) -> None:
    """Random bytes either end the connection or come out as messages that only ask for pictures."""
    filter_, passed = Filter(LOOK), b""
    try:
        for piece in pieces:
            passed += filter_.hear(piece)
    except BadViewer:
        return
    again = Filter(LOOK)
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
    said = Filter(LOOK).hear(encodings(*known))
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
    assert Filter(LOOK).hear(encodings(0)) == LOOK.opening


def test_a_large_clipboard_is_dropped_without_being_kept() -> None:
    """A gigabyte that is announced costs nothing."""
    filter_ = Filter(LOOK)
    assert filter_.hear(struct.pack(">BxxxI", 6, 1 << 30)) == b""
    for _ in range(100):
        assert filter_.hear(bytes(1 << 20)) == b""
    assert len(filter_._heard) == 0


def test_a_large_clipboard_that_goes_in_is_handed_on_as_it_comes() -> None:
    """Nor does one that is allowed."""
    filter_ = Filter(Passing(control=True, clipboard_in=True, clipboard_out=False, audio=True))
    head, piece = struct.pack(">BxxxI", 6, 1 << 30), bytes(1 << 20)
    assert filter_.hear(head + piece) == head + piece
    assert filter_.hear(piece) == piece
    assert len(filter_._heard) == 0


def test_the_desktop_may_ask_for_the_clipboard_that_goes_in_and_still_hands_out_news_alone() -> None:
    """Servers ask for the content when somebody pastes; without that nothing would ever go in."""
    one_way = Passing(control=True, clipboard_in=True, clipboard_out=False, audio=True)
    flags = struct.unpack_from(">I", one_way.wants, 8)[0]
    assert flags & ~struct.unpack_from(">I", NEWS_ALONE, 8)[0] == 1 << 25
    assert one_way.opening.startswith(one_way.wants)
    assert Passing(control=True, clipboard_in=False, clipboard_out=True, audio=True).opening == b""


def test_messages_of_the_pointer_keep_one_length() -> None:
    """With extended buttons a server would read one byte more, of which the filter knows nothing."""
    for may in (LOOK, Passing(control=True, clipboard_in=False, clipboard_out=True, audio=True)):
        said = Filter(may).hear(encodings(0, EXTENDED_BUTTONS, 16)).removeprefix(NEWS_ALONE)
        (number,) = struct.unpack_from(">H", said, 2)
        assert set(struct.unpack_from(f">{number}I", said, 4)) - {EXTENDED_CLIPBOARD} == {0, 16}


@pytest.mark.parametrize("said", [b"\x07", b"\xff\x02", b"\x02\x00\xff\xff"])
def test_what_no_viewer_says_ends_the_connection(said: bytes) -> None:
    """Nobody could say where it ends."""
    with pytest.raises(BadViewer):
        Filter(LOOK).hear(said)
