"""Looks at desktops whose owners may have put anything in the place of the VNC server."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from broker import rfb
from broker.rfb import RfbRefused

EMPTY_RECTANGLE = struct.pack(">BxHHHHHi", 0, 1, 0, 0, 0, 0, 0)
Talk = Callable[[socket.socket], None]


@contextmanager
def fake_desktop(width: int, height: int, talk: Talk) -> Iterator[int]:
    """A VNC server that lets anybody in, has this size and then says what it likes; its port."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(rfb.VERSION)
            rfb.exactly(connection, 12)
            connection.sendall(bytes([1, rfb.SECURITY_VNC]))
            rfb.exactly(connection, 1)
            connection.sendall(bytes(16))
            rfb.exactly(connection, 16)
            connection.sendall(bytes(4))
            rfb.exactly(connection, 1)
            connection.sendall(struct.pack(">HH16xI", width, height, 4) + b"desk")
            talk(connection)
            while connection.recv(1 << 16):
                pass  # closed with something unread it would take back what was sent

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(10)
    assert not thread.is_alive()


def again_and_again(piece: bytes) -> Talk:
    """Says the same until nobody listens."""

    def talk(connection: socket.socket) -> None:
        while True:
            connection.sendall(piece)

    return talk


def drop_by_drop(connection: socket.socket) -> None:
    """One byte of a picture now and then, so that there is always something to read."""
    connection.sendall(struct.pack(">BxHHHHHi", 0, 1, 0, 0, 100, 100, 0))
    while True:
        connection.sendall(b"\0")
        time.sleep(0.02)


def look(port: int, seconds: float = 5) -> rfb.Frame:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        return rfb.look(connection, "password", ends=time.monotonic() + seconds)


@pytest.mark.parametrize("talk", [drop_by_drop, again_and_again(EMPTY_RECTANGLE), again_and_again(b"\x02")])
def test_a_look_is_over_in_time_whatever_the_desktop_sends(talk: Talk) -> None:
    """Who looks on for a teacher's page holds one of the portal's threads."""
    with fake_desktop(100, 100, talk) as port:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            look(port, seconds=0.5)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize(("width", "height"), [(0, 0), (100, 0), (8192, 8192)])
def test_a_size_that_no_desktop_has_is_refused_before_memory_is_taken_for_it(width: int, height: int) -> None:
    """Seventy such desktops would take all there is."""
    with fake_desktop(width, height, lambda _: None) as port, pytest.raises(RfbRefused, match=f"{width}x{height}"):
        look(port)


def test_a_long_clipboard_is_passed_over() -> None:
    """It comes before the picture."""
    picture = struct.pack(">BxHHHHHi", 0, 1, 0, 0, 2, 1, 0) + bytes(range(8))

    def talk(connection: socket.socket) -> None:
        connection.sendall(struct.pack(">B3xi", 3, 300_000) + bytes(300_000) + picture)

    with fake_desktop(2, 1, talk) as port:
        assert look(port).pixels == bytes(range(8))
