"""Two sockets joined: all bytes arrive, in their order, and nobody's slowness costs more than a buffer."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.configuration import doors
from broker.gateways.joining import Left, join
from broker.gateways.patience import Patience
from broker.gateways.sides import Plain, Side, Within
from tests.certificates import contexts
from tests.doors import doors as machine_doors
from tests.doors import trust
from tests.ports import free_port
from tests.waiting import until

MEGABYTE = 1 << 20


class Joined:
    """A client and a machine, each its own end, with the machine's door; what joins them runs in a thread, `why` is how
    it ended."""

    def __init__(self, way: Way, patience: Patience) -> None:
        server, client = contexts()
        self.client, near = pair(way.listener)
        outer = doors.reach(way.state_dir, "light-1", *way.door, timeout=20)
        self.machine = way.accept()
        self.why = ""
        self._patience, self._raw = patience, (near, outer)
        self._sides: tuple[Side, Side] = Plain(near), outer
        if way.ends_here:
            far = Within(outer, client)
            with ThreadPoolExecutor(2) as threads:
                served = threads.submit(server.wrap_socket, self.machine, server_side=True)
                ours = threads.submit(server.wrap_socket, near, server_side=True)
                self.client = client.wrap_socket(self.client)
                far.do_handshake()
                self.machine, wrapped = served.result(), ours.result()
            self._sides, self._raw = (wrapped, far), (wrapped, outer)
        for each in (self.client, self.machine):
            each.settimeout(20)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with self._raw[0], self._raw[1]:
            try:
                join(*self._sides, self._patience)
            except (Left, OSError) as end:
                self.why = str(end)

    def close(self) -> None:
        self.client.close()
        self.machine.close()
        self.thread.join(20)
        assert not self.thread.is_alive()


@dataclass(frozen=True)
class Way:
    """How to a machine: by its door, behind which is `listener`; with a TLS of the client's that ends here, or not."""

    listener: socket.socket
    door: tuple[str, int]
    state_dir: Path
    ends_here: bool

    def accept(self) -> socket.socket:
        """The machine's end of what came through the door."""
        return self.listener.accept()[0]


def pair(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    one = socket.create_connection(listener.getsockname())
    return one, listener.accept()[0]


Join = Callable[..., Joined]


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    state_dir, own = tmp_path_factory.mktemp("way"), ("127.0.0.1", free_port())
    trust(state_dir)
    with socket.create_server(("127.0.0.1", 0)) as listener, machine_doors((own, listener.getsockname())):
        yield Way(listener, own, state_dir, False)


@pytest.fixture(params=["TLS of the client with the machine", "TLS that ends here"])
def joined(request: pytest.FixtureRequest, way: Way) -> Iterator[Join]:
    with ExitStack() as stack:

        def make(**patience: float) -> Joined:
            made = Joined(replace(way, ends_here="ends" in request.param), Patience(**patience))
            stack.callback(made.close)
            return made

        yield make


def exactly(source: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = source.recv(min(MEGABYTE, size - len(data)))
        assert piece, f"it ended after {len(data)} bytes"
        data += piece
    return bytes(data)


def test_megabytes_go_both_ways_at_once_unchanged(joined: Join) -> None:
    """More than any buffer between them holds."""
    both = joined()
    there, back = os.urandom(30 * MEGABYTE), os.urandom(30 * MEGABYTE)
    assert exchanged({both.client: there, both.machine: back}, {both.client: len(back), both.machine: len(there)}) == {
        both.client: back,
        both.machine: there,
    }


def exchanged(said: dict[socket.socket, bytes], sizes: dict[socket.socket, int]) -> dict[socket.socket, bytes]:
    """What each side hears, when each says and hears by turns; in one thread, because TLS is for one."""
    left = {side: memoryview(data) for side, data in said.items()}
    heard = {side: bytearray() for side in said}
    deadline = time.monotonic() + 60
    for side in said:
        side.setblocking(False)
    while any(len(heard[side]) < size for side, size in sizes.items()):
        assert time.monotonic() < deadline, {side: len(data) for side, data in heard.items()}
        for side in said:
            with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                left[side] = left[side][side.send(left[side][:65536]) :] if left[side] else left[side]
            with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                heard[side] += side.recv(65536)
    return {side: bytes(data) for side, data in heard.items()}


@given(pieces=st.lists(st.binary(min_size=1, max_size=40_000), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_of_any_size_come_back(joined: Join, pieces: list[bytes]) -> None:
    """Each is answered before the next is said, so nothing may stay behind in a buffer or a TLS record."""
    both = joined()
    for piece in pieces:
        both.client.sendall(piece)
        assert exactly(both.machine, len(piece)) == piece
        both.machine.sendall(piece)
        assert exactly(both.client, len(piece)) == piece
    both.close()


def test_many_small_pieces_that_come_at_once_arrive_at_once(joined: Join) -> None:
    """More than are carried at a time, in one record of the door's: nothing more is to be read from the socket."""
    both = joined()
    both.machine.settimeout(5)
    both.client.settimeout(5)
    both.machine.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    for _ in range(150):
        both.machine.sendall(b"a small piece")
    both.machine.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    assert exactly(both.client, 150 * 13) == b"a small piece" * 150


def test_the_last_words_arrive_before_the_end(joined: Join) -> None:
    both = joined()
    last = os.urandom(MEGABYTE)
    threading.Thread(target=lambda: (both.machine.sendall(last), both.machine.close())).start()
    assert exactly(both.client, len(last)) == last
    with suppress(ssl.SSLError, ConnectionResetError):  # TLS has no good end where the peer just leaves
        assert both.client.recv(1) == b""
    until(lambda: both.why, "the end")


@pytest.mark.parametrize("who", ["client", "machine"])
def test_when_one_leaves_the_other_is_told(joined: Join, who: str) -> None:
    both = joined()
    other = both.machine if who == "client" else both.client
    getattr(both, who).close()
    with suppress(ssl.SSLError, ConnectionResetError):
        assert other.recv(1) == b""
    both.thread.join(20)
    assert both.why


def test_one_that_reads_nothing_holds_the_other_back_and_costs_no_memory(joined: Join) -> None:
    """Its machine is not read; what it says itself still arrives."""
    both = joined()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    both.machine.settimeout(1)
    sent = 0
    with suppress(TimeoutError):
        while sent < 200 * MEGABYTE:
            sent += both.machine.send(bytes(MEGABYTE))
    assert sent < 100 * MEGABYTE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    both.client.sendall(b"I type")
    assert exactly(both.machine, 6) == b"I type"


def test_one_that_reads_nothing_for_good_is_let_go(joined: Join) -> None:
    both = joined(silence=1, heartbeat=0.2)
    both.machine.settimeout(0.5)
    with suppress(TimeoutError):
        while True:
            both.machine.send(bytes(MEGABYTE))
    both.thread.join(10)
    assert both.why == "what the machine says is not taken any more"


def test_waiting_costs_no_time(joined: Join) -> None:
    """An idle desktop's process sleeps."""
    both = joined()
    both.client.sendall(b"x")
    exactly(both.machine, 1)
    before = time.process_time()
    time.sleep(0.5)  # what is measured
    assert time.process_time() - before < 0.1
