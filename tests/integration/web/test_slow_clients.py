"""Who is slow holds a socket of the portal's, and no thread; what a client may send comes out right, in any pieces."""

from __future__ import annotations

import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from apiflask import APIFlask

from tests.ports import free_port
from tests.waiting import until
from web import assets
from web.server.patient import ANSWER
from web.server.request import UNTAKEN

ROOT = Path(__file__).parents[3]
APP = """
import time
from pathlib import Path
import simple_websocket
from web.server.patient import Patience
from web.server.worker import Worker

HERE = Path(__file__).parent

class Hasty(Worker):
    patience = Patience(seconds=1, bytes_a_second=1e6)

def socket(environ):
    opened = simple_websocket.Server(environ)
    try:
        while environ["PATH_INFO"] != "/bye":
            opened.send(opened.receive())
        opened.close()
    except (simple_websocket.ConnectionClosed, OSError):
        pass
    raise StopIteration

def wait():
    (HERE / "begun").touch()
    while not (HERE / "go").exists():
        time.sleep(0.01)
    return b"here"

def app(environ, start_response):
    path, size = environ["PATH_INFO"], int(environ.get("CONTENT_LENGTH") or 0)
    if path in ("/socket", "/bye"):
        socket(environ)
    if path == "/endless":
        start_response("200 OK", [("Content-Length", str(1 << 40))])
        return iter(lambda: b"x" * 65536, b"")
    body = environ["wsgi.input"].read(size) if path == "/read" else b"here"
    body = wait() if path == "/wait" else body if path != "/large" else b"x" * LARGE
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
LARGE = 250_000  # bytes, as the largest of the pages' files
WHOLE = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhere"
LARGEST = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
BEGINNINGS = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
    "a body that is awaited": b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "a body that nobody reads": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nhalf",
    "a request behind another": WHOLE + WHOLE[:20],
    "an answer that nobody reads": LARGEST,
    "answers that nobody reads": LARGEST * 4,
    "one that does not leave": b"GET / HTTP/1.0\r\n\r\n",
}
HOLDING = {
    "a file that stops in the middle": b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nhalf",
    "an export that nobody reads": b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n",
}
REFUSED = {
    b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf": b"411",
    b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x": b"411",
    b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhalf" + WHOLE: b"400",
    b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nhalf" + WHOLE: b"400",
    b"GET / HTTP/1.1\r\nX: " + b"y" * 40000: b"431",
    b"GET / HTTP/1.1\nHost: x\n\n": b"400",
    b"\x16\x03\x01 no HTTP": b"",
}
ANSWERED = {
    "three at once": (WHOLE * 3, 3),
    "one that is told to go on": (WHOLE.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"), 1),
    "of a former version": (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), 1),
    "a body that is not read": (WHOLE.replace(b"/read", b"/other") + WHOLE, 2),
    "with an end": (WHOLE + WHOLE.replace(b"Host", b"Connection: close\r\nHost"), 2),
}
UPGRADE = b" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
OPENS = [b"GET /socket" + UPGRADE, b"GET /bye" + UPGRADE, b"GET /other" + UPGRADE, b"GET /socket" + UPGRADE[:40], WHOLE]
FRAMES = [b"", b"\x81\x82\0\0\0\0hi", b"\x88\x80\0\0\0\0", b"\x81\x02hi", b"\xff" * 20, b"\x81\xfe\xff\xff"]


class Server:
    """Gunicorn with the portal's worker, as `beamdesk web` starts it, but for an application of ours."""

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "slow.py").write_text(f"LARGE = {LARGE}\n" + APP)
        self.folder, self.port, self.log = folder, free_port(), folder / "log"
        line = ["gunicorn", "slow:app", "--pythonpath", str(folder), "--bind", f"127.0.0.1:{self.port}"]
        line += ["--worker-class", "slow.Hasty", "--threads", "4", "--worker-connections", "604"]
        line += ["--keep-alive", "15", "--graceful-timeout", "5", "--log-file", str(self.log), *options]
        self.process = subprocess.Popen([sys.executable, "-m", *line], cwd=ROOT)
        until(self.answers, "the server", 20)
        self.worker = int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def said(self, first: bytes) -> socket.socket:
        """A client that has sent this, over what is small as a network is."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        client.settimeout(10)
        client.connect(("127.0.0.1", self.port))
        client.sendall(first)
        return client

    def answers(self) -> bool:
        """Whether somebody who sends all is answered, twice over one connection."""
        with suppress(OSError), self.said(WHOLE) as client:
            first = hears(client)
            client.sendall(WHOLE)
            return first and hears(client)
        return False

    def memory(self) -> int:
        """Bytes that the worker has of it."""
        return int(Path(f"/proc/{self.worker}/statm").read_text().split()[1]) * 4096

    def descriptors(self) -> int:
        """How many the worker has."""
        return len(list(Path(f"/proc/{self.worker}/fd").iterdir()))

    def stop(self) -> None:
        """Gently, and wait for it."""
        self.process.terminate()
        self.process.wait(20)


def hears(client: socket.socket) -> bool:
    """Whether it gets a whole answer."""
    heard = b""
    while not heard.endswith(b"here"):
        piece = client.recv(1000)
        if not piece:
            return False
        heard += piece
    return heard.count(b" 200 OK\r\n") == 1


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """A server, and nothing in its log that it did not expect."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all that does not stop it."""
    with served(tmp_path_factory.mktemp("slow")) as server:
        yield server


@pytest.mark.parametrize("first", BEGINNINGS.values(), ids=BEGINNINGS)
def test_hundreds_of_slow_clients_take_no_thread(portal: Server, first: bytes) -> None:
    """More than there are threads, and some that go on byte by byte: others are answered at once, by a server whose
    memory and descriptors are then what they were."""
    memory, files = portal.memory(), portal.descriptors()
    with ExitStack() as stack:
        slow = [stack.enter_context(portal.said(first)) for _ in range(200)]
        for trickle in slow[:50]:
            with suppress(OSError):
                trickle.sendall(b"G")
        assert portal.answers()
    until(lambda: portal.descriptors() <= files, "their sockets to be closed")
    assert portal.memory() - memory < 20e6


@pytest.mark.parametrize("first", HOLDING.values(), ids=HOLDING)
def test_who_keeps_a_thread_waiting_is_given_up(portal: Server, first: bytes) -> None:
    """More than there are threads: what is as large as a file has one, for as long as it goes on."""
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(portal.said(first))
        assert portal.answers()


def test_who_begins_too_many_requests_makes_room_for_others(portal: Server) -> None:
    """Beyond what may wait at a time, who has waited longest goes, though it speaks in the same moment."""
    with ExitStack() as stack:
        slow = [stack.enter_context(portal.said(b"G")) for _ in range(700)]
        for talks in slow[:500]:
            with suppress(OSError):
                talks.sendall(b"E")
            stack.enter_context(portal.said(b"G"))
        assert portal.answers()
        with suppress(ConnectionResetError):
            assert slow[0].recv(1) == b""


@pytest.mark.parametrize(("first", "status"), REFUSED.items())
def test_what_is_no_request_is_refused_at_once(portal: Server, first: bytes, status: bytes) -> None:
    """Two ways to say how long a request is, of which a proxy may believe the other one, among them: what comes behind
    such a request is not heard."""
    with portal.said(first) as client:
        heard = client.makefile("rb").read()
        assert heard.split()[1:2] == [status] * bool(status)
        assert heard.count(b"HTTP/1.1 ") == bool(status)


@pytest.mark.parametrize(("requests", "number"), ANSWERED.values(), ids=ANSWERED)
def test_whatever_comes_is_answered_in_any_pieces(portal: Server, requests: bytes, number: int) -> None:
    """All at once, byte by byte, and by a client that says nothing more afterwards."""
    for size in (len(requests), 1, 70):
        with portal.said(b"") as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for begin in range(0, len(requests), size):
                client.sendall(requests[begin : begin + size])
            client.shutdown(socket.SHUT_WR)
            heard = client.makefile("rb").read()
        assert (heard.count(b" 200 OK\r\n"), heard.count(b"\r\n\r\nhere")) == (number, number)
        assert heard.count(b"100 Continue") <= 1


def test_who_waits_to_be_told_to_go_on_is_told(portal: Server) -> None:
    """Before a small body, which the server awaits, and before a large one, for which the application asks."""
    for size in (4, 100_000):
        head = f"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\nExpect: 100-continue\r\n\r\n"
        with portal.said(head.encode()) as client:
            assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"x" * size)
            answer = client.makefile("rb")
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"


def test_a_large_body_that_nobody_reads_ends_the_connection_and_the_answer_says_so(portal: Server) -> None:
    """Who would send another request over it is warned, and who sends the body to its end hears the answer."""
    with portal.said(BEGINNINGS["a body that nobody reads"]) as client:
        client.sendall(b"x" * (900_000 - 4))
        heard = client.makefile("rb").read()
    assert b"\r\nConnection: close\r\n" in heard
    assert heard.endswith(b"\r\n\r\nhere")


def _visit(portal: Server, chance: random.Random) -> None:
    """Somebody opens a WebSocket, or does not quite, does something, and goes in one of several ways."""
    with suppress(OSError), portal.said(chance.choice(OPENS)) as client:
        client.settimeout(0.05)
        for _ in range(chance.randrange(3)):
            if chance.random() < 0.5:
                client.recv(chance.choice((1, 1000)))
            client.sendall(chance.choice(FRAMES))
        if chance.random() < 0.3:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif chance.random() < 0.3:
            client.shutdown(socket.SHUT_WR)
            client.recv(1000)


def test_websockets_come_and_go_in_every_way_and_pages_are_answered(portal: Server) -> None:
    """Each closes its socket by itself, when it likes, and the number is then another's: nobody is confused with
    anybody, and nothing is left behind."""

    def visits(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(300):
            _visit(portal, chance)

    files, threads = portal.descriptors(), Path(f"/proc/{portal.worker}/task")
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(visits, seed) for seed in range(4)]:
            each.result()
    assert portal.answers()
    until(lambda: portal.descriptors() <= files, "their sockets to be closed")
    until(lambda: len(list(threads.iterdir())) <= 5, "their threads to end")


def test_who_is_served_as_the_server_stops_is_answered(tmp_path: Path) -> None:
    """A request that is worked on, one of which the rest was on its way, and one on a connection that stayed; though
    many a WebSocket came and went, and one is open."""
    with served(tmp_path) as server, ExitStack() as stack:
        chance = random.Random(1)
        for _ in range(50):
            _visit(server, chance)
        opened, half, stayed, waits = (
            stack.enter_context(server.said(first))
            for first in (OPENS[0], WHOLE[:-2], WHOLE, WHOLE.replace(b"/read", b"/wait"))
        )
        assert opened.recv(12) == b"HTTP/1.1 101"
        assert hears(stayed)
        until((tmp_path / "begun").exists, "the request to be worked on")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not _listens(server.port), "the server to begin to stop")
        stayed.sendall(WHOLE)
        half.sendall(WHOLE[-2:])
        assert hears(stayed)
        assert hears(half)
        (tmp_path / "go").touch()
        assert hears(waits)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_what_anybody_may_ask_for_fits_into_what_a_client_need_not_take(app: APIFlask) -> None:
    """The kernel takes twice as much as it is told; a larger answer holds a thread until it is read."""
    files = [path.stat().st_size for path in assets.FOLDER.rglob("*") if path.is_file()]
    assert max(*files, len(app.test_client().get("/api/v1/openapi.json").data)) < LARGE
    assert LARGE + UNTAKEN < 2 * ANSWER
