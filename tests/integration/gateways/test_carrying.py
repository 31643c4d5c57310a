"""What the gateway carries between a viewer and a real desktop."""

from __future__ import annotations

import re
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.connections.models import Connection
from broker.gateways.first_frame import FirstFrame
from broker.gateways.viewer import LARGEST_MESSAGE
from tests.integration.gateways.lab import Desk, Lab, Screen
from tests.integration.gateways.wire import CLOSE, PING, Viewer
from tests.waiting import until

TEXT = 1  # a kind of WebSocket frame


def test_a_desktop_is_seen_without_a_password(desk: Desk) -> None:
    """The gateway signs in to the machine; the viewer sees real pixels."""
    viewer = desk().greet()
    pixels = viewer.frame()
    assert (viewer.width, viewer.height) == (800, 600)
    assert {pixels[i : i + 3].hex() for i in range(0, len(pixels), 4)} == {"b8c43c", "2b2312"}


def test_a_handshake_may_come_byte_by_byte(desk: Desk) -> None:
    """However a network cuts what the viewer says, the gateway understands it."""
    assert desk().greet(in_pieces=1).is_alive()


def test_what_a_viewer_says_right_behind_its_handshake_reaches_the_machine(desk: Desk) -> None:
    """A viewer need not wait for the gateway before it asks for its first picture."""
    viewer = desk()
    viewer.send(b"RFB 003.008\n\x01\x01" + struct.pack(">BBHHHH", 3, 0, 0, 0, 800, 600))
    assert viewer.exactly(12 + 2 + 4)[12:] == b"\x01\x01\0\0\0\0"
    viewer.exactly(struct.unpack(">20xI", viewer.exactly(24))[0])
    assert viewer.exactly(1) == b"\0", "no picture"


def test_keys_and_the_pointer_reach_the_desktop(desk: Desk, screen: Screen) -> None:
    """A program on the desktop sees the very keys, places and buttons."""
    viewer = desk().greet()
    with screen.program("stdbuf", "-oL", "xev", "-geometry", "800x600+0+0") as printed:

        def pressed() -> bool:
            viewer.pointer(123, 234)
            viewer.key(ord("k"))
            return "keysym 0x6b, k" in printed()

        until(pressed, "the key in xev", every=0.2)
        viewer.pointer(321, 210, 1)
        viewer.pointer(321, 210, 0)
        until(lambda: "ButtonRelease" in printed(), "the button in xev")
        assert re.search(r"ButtonPress.*\n.*root:\(321,210\)", printed())


def test_what_the_viewer_copies_is_pasted_in_the_desktop(desk: Desk, screen: Screen) -> None:
    """The clipboard's very bytes pass to the desktop, a large text too."""
    viewer = desk().greet()
    text = "".join(f"line {number}\n" for number in range(20_000))
    viewer.copy(text.encode())
    viewer.is_alive()  # the desktop has heard all before this
    assert screen.run("xclip", "-o", "-selection", "clipboard") == text


def test_what_the_desktop_copies_reaches_the_viewer(desk: Desk, screen: Screen) -> None:
    """The clipboard's very bytes pass to the viewer."""
    viewer = desk().greet()
    viewer.is_alive()
    with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says="caf\u00e9 from the desktop"):
        assert viewer.copied() == "caf\u00e9 from the desktop".encode("latin-1")


def test_two_viewers_share_one_desktop(desk: Desk, screen: Screen) -> None:
    """Both see what changes; one that leaves takes nothing from the other."""
    first, second = desk().greet(), desk().greet()
    assert first.frame() == second.frame()
    for viewer in (first, second):
        viewer.ask(again=True)
    with screen.program("xev", "-geometry", "50x50+0+0"):
        assert first.exactly(1) == second.exactly(1) == b"\0"
    first.socket.close()
    until(lambda: len(desk.rows(open_=True)) == 1, "the first viewer's row to be closed")
    third = desk().greet()
    assert third.is_alive()


def test_twenty_desktops_open_at_once(lab: Lab) -> None:
    """Twenty people click in the same moment; each gets a desktop, and a row that is closed after it."""
    desks = [lab.desk() for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        viewers = list(threads.map(lambda desk: desk().greet(), desks))
        assert all(threads.map(Viewer.is_alive, viewers))
    pids = {desk.rows(open_=True)[0].pid for desk in desks}
    assert len(pids) == 20, "two share a process"
    for desk in desks:
        desk.close()
    until(lambda: not pids & lab.gateway.children(), "their processes to end")
    until(lambda: not any(desk.rows(open_=True) for desk in desks), "their rows to be closed")


def test_a_launch_is_traced_to_its_first_picture(desk: Desk) -> None:
    """The handshake is written down, and the first picture only once one was carried."""
    viewer = desk().greet()
    until(lambda: "handshake" in desk.marks(), "the mark of the handshake")
    assert "first_frame" not in desk.marks()
    viewer.frame()
    until(lambda: "first_frame" in desk.marks(), "the mark of the first picture")


def test_pseudo_rectangles_of_a_real_server_are_no_picture(desk: Desk) -> None:
    """Of all that a browser's viewer says it understands, what comes first is stepped over; then the picture counts."""
    viewer, watch = desk().greet(), FirstFrame()
    understood = (0, -223, -224, -239, -258, -261, -307, -308, -309, -312, -313, -314, -316, 0x574D5664)
    viewer.send(struct.pack(f">BxH{len(understood)}i", 2, len(understood), *understood))
    viewer.ask(again=True)
    first = viewer.message()
    assert first[0] == 0 or first[0] in (150, 248), first[:20]
    seen = watch.watch(first)
    while not seen:
        viewer.ask()
        seen = watch.watch(viewer.message())


def resident(row: Connection) -> int:
    """The memory of this connection's process, in bytes."""
    status = Path(f"/proc/{row.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024


def test_a_viewer_that_stalls_stalls_nobody_else_and_costs_no_memory(lab: Lab, desk: Desk, screen: Screen) -> None:
    """One viewer asks for picture after picture and reads none; others work on, on the same desktop and on another."""
    slow = desk().greet()
    before = resident(desk.rows(open_=True)[0])
    same, other = desk().greet(), lab.desk()().greet()
    for _ in range(20):
        slow.ask()
        assert same.is_alive()
        assert other.is_alive()
    assert resident(desk.rows(open_=True)[0]) - before < 8 * 1024 * 1024
    slow.exactly(800 * 600 * 4)  # it was kept, and goes on where it was
    other.socket.close()


def test_a_viewer_that_pings_and_reads_nothing_costs_no_memory(desk: Desk) -> None:
    """Answers to pings wait for whoever asked, up to a limit."""
    rude = desk()
    rude.greet()
    before = resident(desk.rows(open_=True)[0])
    for _ in range(600):
        rude.send(bytes(100_000), PING)
    assert resident(desk.rows(open_=True)[0]) - before < 16 * 1024 * 1024


def test_a_message_that_no_viewer_would_send_is_refused(desk: Desk) -> None:
    """More than the largest clipboard in one message ends the connection, and says why."""
    viewer = desk().greet()
    sender = threading.Thread(target=_send_too_much, args=(viewer,))
    sender.start()
    closed = viewer.end()
    sender.join(20)
    assert closed.code == 1009
    assert str(LARGEST_MESSAGE) in closed.reason


def _send_too_much(viewer: Viewer) -> None:
    try:
        viewer.send(bytes(LARGEST_MESSAGE + 100_000))
    except OSError:
        return  # refused before it was all sent


@pytest.mark.parametrize(
    ("kind", "code"), [(TEXT, 1003), (0, 1002), (7, 1003)], ids=["text", "continuation of nothing", "unknown"]
)
def test_a_viewer_that_breaks_the_websocket_protocol_is_told_and_let_go(desk: Desk, kind: int, code: int) -> None:
    """It need not close its side for the gateway to be rid of it."""
    viewer = desk().greet()
    viewer.send(b"hello", kind)
    assert viewer.end().code == code
    until(lambda: desk.rows(open_=False), "the row to be closed")


def test_a_viewer_that_speaks_no_rfb_is_told(desk: Desk) -> None:
    """The gateway's greeting is RFB 3.8, and the answer has to be."""
    viewer = desk()
    viewer.send(b"RFB 003.003\n")
    closed = viewer.end()
    assert (closed.code, closed.reason) == (1002, "This gateway speaks RFB 3.8 only.")


def test_a_viewer_that_leaves_politely_is_answered(desk: Desk) -> None:
    """A close is answered with a close of the same code, and the row is closed."""
    viewer = desk().greet()
    viewer.send(struct.pack(">H", 1000), CLOSE)
    assert viewer.end().code == 1000
    until(lambda: desk.rows(open_=False), "the row to be closed")
