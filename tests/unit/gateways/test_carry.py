"""Carrying over real sockets: every byte, in order, both ways; nothing stored; nobody waited for for ever."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockify.websocket import WebSocket, WebSocketWantReadError

from broker.gateways.carry import CHUNK, MOST_FOR_MACHINE, Carrying, Ended, MachineLeft
from broker.gateways.patience import Patience
from broker.gateways.viewer import Left, TooMuch, Viewer
from tests.certificates import contexts

HASTY = Patience(heartbeat=0.05, silence=1.0)


class Carried:
    """A viewer and a machine, and between them a Carrying in a thread; `end` is how that ended. `first` is done before
    it begins."""

    def __init__(self, patience: Patience, first: Callable[[Carried], object]) -> None:
        self.browser, self.machine = WebSocket(), socket.socket()
        self.browser.client, self.viewer = True, Viewer(None)
        self.viewer.client = False
        self.browser.socket, self.viewer.socket = _joined()
        self.machine, inner = _in_tls(*_joined())
        self.inner = inner
        first(self)
        self.viewer.setblocking(False)
        inner.setblocking(False)
        self.pictures: list[bool] = []
        self.end: Exception | None = None
        self._carrying = Carrying(
            self.viewer, inner, on_first_frame=lambda: self.pictures.append(True), patience=patience
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._carrying.run()
        except (Left, Ended, TooMuch, OSError) as end:
            self.end = end

    def ended(self) -> Exception:
        """How it ended, in the end."""
        self._thread.join(30)
        assert self.end is not None
        return self.end

    def close(self) -> None:
        for side in (self.browser.socket, self.machine):
            if side is not None:
                side.close()
        self._thread.join(30)
        for side in (self.viewer.socket, self.inner):
            if side is not None:
                side.close()


def _joined() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname(), 20)
        other, _ = server.accept()
        return one, other


def _in_tls(one: socket.socket, other: socket.socket) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """The same, in TLS, the first one as its server."""
    server, client = contexts()
    with ThreadPoolExecutor(1) as threads:
        served = threads.submit(server.wrap_socket, one, server_side=True)
        wrapped = client.wrap_socket(other)
        return served.result(), wrapped


@contextmanager
def carried(
    patience: Patience = Patience(),  # noqa: B008 - it is frozen
    first: Callable[[Carried], object] = lambda _: None,
) -> Iterator[Carried]:
    made = Carried(patience, first)
    try:
        yield made
    finally:
        made.close()


def exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += source.recv(size - len(data))
    return data


def heard(browser: WebSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        with suppress(WebSocketWantReadError):
            data += browser.recvmsg()
    return data


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=200), st.integers(0, 200_000).map(bytes)), max_size=6), st.data())
def test_every_byte_passes_in_order_both_ways(messages: list[bytes], data: st.DataObject) -> None:
    """Whatever its messages' sizes are; messages mean nothing to RFB, which is one stream."""
    with carried() as both:
        for message in messages:
            both.browser.sendmsg(message)
        whole = b"".join(messages)
        assert exactly(both.machine, len(whole)) == whole
        cut = data.draw(st.integers(0, len(whole)))
        both.machine.sendall(whole[:cut])
        both.machine.sendall(whole[cut:])
        assert heard(both.browser, len(whole)) == whole


def accepted(send: socket.socket, data: bytes) -> int:
    """How many bytes are taken before nothing moves any more."""
    send.settimeout(1)
    taken = 0
    with suppress(TimeoutError):
        while taken < 200 * 1024 * 1024:
            taken += send.send(data)
    return taken


def test_a_viewer_that_stalls_holds_its_machine_back_and_nothing_is_stored() -> None:
    """What waits are the sockets' own buffers and one piece; when the viewer reads again it misses nothing."""
    with carried() as both:
        sent = accepted(both.machine, b"picture!" * 8192)
        assert sent < 64 * 1024 * 1024
        assert both.viewer.unsent <= CHUNK + 1024
        assert heard(both.browser, sent) == (b"picture!" * (sent // 8 + 1))[:sent]


def test_a_machine_that_stalls_holds_its_viewer_back_and_nothing_is_stored() -> None:
    """A viewer that sends and sends fills the sockets' own buffers and one piece."""
    with carried() as both:
        message = struct.pack(">BBHxxxx4x", 0x82, 0xFE, 65535)[:8] + bytes(65535)
        sent = accepted(both.browser.socket, message)
        assert sent < 64 * 1024 * 1024
        assert len(both._carrying._to_machine) <= MOST_FOR_MACHINE + 65535 + 4096


def test_a_viewer_that_takes_nothing_is_let_go() -> None:
    """It lives, and says so, but does not take its picture."""
    with carried(HASTY) as both:
        both.browser.ping()
        accepted(both.machine, bytes(65536))
        assert str(both.ended()) in (
            "the viewer does not take its picture any more",
            "the viewer does not answer any more",
        )


def test_a_viewer_that_takes_a_stream_is_kept_before_its_first_answer_to_a_ping_comes() -> None:
    """On a slow line pings wait behind pictures; to take these is a sign of life as well."""
    with carried(HASTY) as both, ThreadPoolExecutor() as threads:
        both.viewer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        pings: list[bytes] = []
        both.browser.handle_ping = pings.append
        flood = threads.submit(both.machine.sendall, bytes(1024 * 1024 * 1024))
        while len(pings) < 25:  # no more than twenty come in the time for which a viewer may be silent
            with suppress(WebSocketWantReadError):
                assert both.browser.recvmsg() is not None
        assert both.end is None
        both.browser.socket.close()
        assert isinstance(both.ended(), Left | OSError)
        both.inner.close()
        assert isinstance(flood.exception(), OSError)


@pytest.mark.parametrize("broken", [False, True], ids=["closed", "reset"])
def test_a_machine_that_goes_ends_it(broken: bool) -> None:
    """By a close, or because it died."""
    with carried() as both:
        if broken:
            both.machine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        both.machine.close()
        assert isinstance(both.ended(), MachineLeft)


def test_what_came_with_the_greeting_is_not_left_behind() -> None:
    """In one record of TLS with it: nothing more is to be read from the socket."""

    def greet(both: Carried) -> None:
        both.machine.sendall(b"greeting" + b"picture" * 100)
        assert both.inner.recv(8) == b"greeting"

    with carried(first=greet) as both:
        assert heard(both.browser, 700) == b"picture" * 100


def test_the_last_words_of_a_machine_arrive() -> None:
    """Though the end is there already when they are read."""

    def say_and_leave(both: Carried) -> None:
        both.machine.sendall(bytes(50_000))
        both.machine.close()

    with carried(first=say_and_leave) as both:
        assert heard(both.browser, 50_000) == bytes(50_000)
        assert isinstance(both.ended(), MachineLeft)


def test_a_viewer_that_goes_ends_it() -> None:
    """By a close of the WebSocket, whose code is known, or of the connection alone."""
    with carried() as both:
        both.browser.shutdown(socket.SHUT_RDWR, 1000)
        assert str(both.ended()) == "the viewer left (1000)"
    with carried() as both:
        both.browser.socket.close()
        assert str(both.ended()) == "the viewer left (1006)"


@pytest.mark.parametrize("kinds", [[0x82], [2, *[0] * 200]], ids=["one frame", "many fragments"])
def test_too_large_a_message_ends_it(kinds: list[int]) -> None:
    """Before it is whole."""
    size = 8 * 1024 * 1024 // len(kinds)
    with carried() as both, ThreadPoolExecutor() as threads:
        data = b"".join(struct.pack(">BBQ4x", kind, 0xFF, size) + bytes(size) for kind in kinds)
        sending = threads.submit(both.browser.socket.sendall, data)
        assert isinstance(both.ended(), TooMuch)
        both.viewer.socket.close()
        sending.exception(30)  # what was on its way may have gone or not


def test_the_first_picture_is_told_once() -> None:
    """However many follow."""
    picture = struct.pack(">BxHHHHHi", 0, 1, 0, 0, 1, 1, 0) + bytes(4)
    with carried() as both:
        both.machine.sendall(b"\2")
        heard(both.browser, 1)
        assert not both.pictures
        both.machine.sendall(picture * 3)
        heard(both.browser, len(picture) * 3)
    assert both.pictures == [True]
