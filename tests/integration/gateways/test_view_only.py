"""Who may only look changes nothing on a real desktop, and learns nothing but its picture."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from broker.gateways.rfb_filter import CAPS, EXTENDED_CLIPBOARD, NOTIFY, PEEK, PROVIDE, REQUEST, TEXT
from tests.integration.gateways.guests import Guest
from tests.integration.gateways.lab import Desk, Screen
from tests.integration.gateways.wire import Viewer
from tests.waiting import until

LARGEST = 20 * 1024 * 1024


@pytest.fixture
def looker(desk: Desk) -> Iterator[Guest]:
    """Bob, who may look at Alice's desktop."""
    with closing(Guest(desk, "bob", control=False)) as made:
        yield made


def size(screen: Screen) -> str:
    """The screen's width and height."""
    return re.findall(r"dimensions:\s+(\d+x\d+)", screen.run("xdpyinfo"))[0]


def extended(flags: int, rest: bytes = b"") -> bytes:
    """A message of the extended clipboard."""
    return struct.pack(">BxxxiI", 6, -4 - len(rest), flags) + rest


def provided(text: str) -> bytes:
    """The clipboard, as the extended message brings it."""
    data = text.encode() + b"\0"
    return extended(PROVIDE | TEXT, zlib.compress(struct.pack(">I", len(data)) + data))


def encodings(*known: int) -> bytes:
    return struct.pack(f">BxH{len(known)}I", 2, len(known), *known)


def resize(width: int, height: int) -> bytes:
    return struct.pack(">BxHHBxIHHHHI", 251, width, height, 1, 0, 0, 0, width, height, 0)


def test_it_sees_the_picture(looker: Guest) -> None:
    """The very pixels that the owner sees."""
    assert looker().greet().frame() == looker.desk().greet().frame()


def test_keys_and_the_pointer_move_nothing(looker: Guest, screen: Screen) -> None:
    """Neither as RFC 6143 has them nor as QEMU does; the owner's do."""
    viewer, owner = looker().greet(), looker.desk().greet()
    with screen.program("stdbuf", "-oL", "xev", "-geometry", "800x600+0+0") as printed:

        def owner_is_heard() -> bool:
            owner.pointer(123, 234)
            owner.key(ord("k"))
            return "keysym 0x6b, k" in printed()

        until(owner_is_heard, "the owner's key in xev", every=0.2)
        viewer.pointer(321, 210, 1)
        viewer.pointer(321, 210, 0)
        viewer.key(ord("z"))
        viewer.send(struct.pack(">BBHII", 255, 0, 1, ord("y"), 21) + struct.pack(">BBHII", 255, 0, 0, ord("y"), 21))
        assert viewer.is_alive()  # the desktop has heard all that it ever will of that
        owner.key(ord("m"))
        until(lambda: "keysym 0x6d, m" in printed(), "the owner's next key")
        assert not re.search(r"keysym 0x(7a|79),|ButtonPress|root:\(321,210\)", printed())


def test_what_comes_in_one_piece_with_the_handshake_is_held_back_as_well(looker: Guest, screen: Screen) -> None:
    """A viewer that does not wait for the gateway gains nothing."""
    with screen.program("stdbuf", "-oL", "xev", "-geometry", "800x600+0+0") as printed:
        until(lambda: "MapNotify" in printed() or "Expose" in printed(), "xev's window")
        looker.desk().greet().pointer(50, 60)
        viewer = looker()
        key = struct.pack(">BBxxI", 4, 1, ord("z")) + struct.pack(">BBxxI", 4, 0, ord("z"))
        viewer.send(b"RFB 003.008\n\x01\x01" + key + struct.pack(">BBHHHH", 3, 0, 0, 0, 800, 600))
        viewer.exactly(12 + 2 + 4)
        viewer.width, viewer.height, name = struct.unpack(">HH16xI", viewer.exactly(24))
        viewer.exactly(name)
        assert viewer.is_alive()
        owner = looker.desk().greet()
        owner.key(ord("m"))
        until(lambda: "keysym 0x6d, m" in printed(), "the owner's key")
        assert "keysym 0x7a" not in printed()


def test_its_clipboard_reaches_nothing(looker: Guest, screen: Screen) -> None:
    """Neither the old message nor the extended one, large or small."""
    owner, viewer = looker.desk().greet(), looker().greet()
    owner.copy(b"the owner's")
    owner.is_alive()
    viewer.copy(b"bob's")
    viewer.copy(b"b" * 500_000)
    viewer.send(encodings(0, EXTENDED_CLIPBOARD) + extended(CAPS | PROVIDE | NOTIFY | TEXT, struct.pack(">I", LARGEST)))
    viewer.send(extended(NOTIFY | TEXT) + provided("bob's, extended"))
    assert viewer.is_alive()
    owner.is_alive()
    assert screen.run("xclip", "-o", "-selection", "clipboard") == "the owner's"


def test_it_does_not_resize(looker: Guest, screen: Screen) -> None:
    """The owner does."""
    before = size(screen)
    viewer, owner = looker().greet(), looker.desk().greet()
    viewer.send(encodings(0, 0x100000000 - 308) + resize(640, 480))
    viewer.ask()
    assert viewer.message()
    assert owner.is_alive()
    assert size(screen) == before
    owner.send(encodings(0, 0x100000000 - 308) + resize(640, 480))
    until(lambda: size(screen) == "640x480", "the owner's size")
    owner.send(resize(800, 600))
    until(lambda: size(screen) == "800x600", "the size before")


def silent(viewer: Viewer) -> None:
    """It says nothing at all of what it knows."""


def old(viewer: Viewer) -> None:
    """It knows pixels only."""
    viewer.send(encodings(0))


def new(viewer: Viewer) -> None:
    """It knows the extended clipboard."""
    viewer.send(encodings(0, EXTENDED_CLIPBOARD))


def greedy(viewer: Viewer) -> None:
    """It wants everything unasked, and asks besides."""
    viewer.send(encodings(0, EXTENDED_CLIPBOARD))
    everything = CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | TEXT
    viewer.send(extended(everything, struct.pack(">I", LARGEST)) + extended(PEEK) + extended(REQUEST | TEXT))


def turncoat(viewer: Viewer) -> None:
    """It knows it, then says that it does not."""
    viewer.send(encodings(0, EXTENDED_CLIPBOARD) + encodings(0) + extended(CAPS | PROVIDE | TEXT))


@pytest.mark.parametrize("says", [silent, old, new, greedy, turncoat])
def test_it_is_not_handed_the_owners_clipboard(looker: Guest, screen: Screen, says: Callable[[Viewer], None]) -> None:
    """Whatever it says that it knows and wants: what the server tells it holds no text, new or from before it came."""
    owner = looker.desk().greet()
    owner.is_alive()
    with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says="secret of before"):
        assert owner.copied() == b"secret of before"
        viewer = greeted(looker())
        says(viewer)
        assert clipboards(viewer) <= {NOTIFY | TEXT, NOTIFY}
    for secret in ("secret one", "secret two"):
        with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says=secret):
            assert owner.copied() == secret.encode()
            viewer.send(extended(REQUEST | TEXT))
            assert clipboards(viewer) <= {NOTIFY | TEXT, NOTIFY}


def test_one_that_dawdles_is_not_handed_what_was_copied_meanwhile(looker: Guest, screen: Screen) -> None:
    """Between the greeting of the machine and the viewer's own there is time, which is the viewer's to waste."""
    owner, viewer = looker.desk().greet(), looker()
    assert viewer.status == 101
    for secret in ("secret one", "secret two"):
        with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says=secret):
            assert owner.copied() == secret.encode()
    assert clipboards(greeted(viewer)) <= {NOTIFY | TEXT, NOTIFY}


def test_the_filter_is_what_keeps_it(desk: Desk, screen: Screen) -> None:
    """A guest with full control is handed it, in either message: so this test would see what leaks."""
    with closing(Guest(desk, "bob", control=True)) as guest:
        plain, extended_one = greeted(guest()), greeted(guest())
        greedy(extended_one)
        with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says="no secret"):
            until(lambda: -1 in clipboards(plain), "the old message")
            until(lambda: any(flags & PROVIDE for flags in clipboards(extended_one)), "the extended one")


def greeted(viewer: Viewer) -> Viewer:
    """After the handshake, with nothing said of what it knows: pixels are asked for by their format alone."""
    viewer.greet(encodings=False)
    return viewer


def clipboards(viewer: Viewer) -> set[int]:
    """What comes of clipboards before the next whole picture; what the server says that it can do is none."""
    assert viewer.is_alive()
    return {flags for flags in viewer.clipboards if flags == -1 or not flags & CAPS}


def test_what_no_viewer_says_ends_its_connection_and_no_others(looker: Guest) -> None:
    """Garbage has no length that anybody could step over."""
    viewer, owner = looker().greet(), looker.desk().greet()
    viewer.send(b"\x07garbage")
    closed = viewer.end()
    assert (closed.code, closed.reason) == (1002, "This message is not known.")
    assert owner.is_alive()
