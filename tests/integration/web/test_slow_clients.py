"""Who is slow to say what it wants holds a socket of the portal's, and no thread; the portal itself is gunicorn's."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[3]
LARGE = 240_000  # bytes, as the largest of the pages' files
APP = (
    f"LARGE = {LARGE}"
    + """
def app(environ, start_response):
    size = int(environ.get("CONTENT_LENGTH") or 0) if environ["PATH_INFO"] == "/read" else 0
    body = environ["wsgi.input"].read(size) or b"x" * LARGE * (environ["PATH_INFO"] == "/large")
    if environ["PATH_INFO"] == "/socket":
        environ["gunicorn.socket"].close()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
)
WHOLE = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhere"
BEGINNINGS = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
    "a body that nobody reads": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nhalf",
    "a request behind another": WHOLE + WHOLE[:20],
    "an answer that nobody reads": b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
    "a WebSocket that is over": b"GET /socket HTTP/1.1\r\nHost: x\r\n\r\n",
    "one that does not leave": b"GET / HTTP/1.0\r\n\r\n",
}
REFUSED = {
    b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf": b"411",
    b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x": b"411",
    b"GET / HTTP/1.1\r\nX: " + b"y" * 40000: b"431",
    b"\x16\x03\x01 no HTTP": b"",
}


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """As `beamdesk web` starts it, with two threads; its port and the number of the process that serves."""
    folder, port = tmp_path_factory.mktemp("slow"), free_port()
    (folder / "slow.py").write_text(APP)
    line = ["gunicorn", "slow:app", "--pythonpath", str(folder), "--bind", f"127.0.0.1:{port}", "--threads", "2"]
    line += ["--worker-class", "web.server.Worker", "--keep-alive", "15", "--graceful-timeout", "1"]
    with subprocess.Popen([sys.executable, "-m", *line], cwd=ROOT) as server:
        try:
            until(lambda: answers(port), "the server", 20)
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
            yield port, int(children.read_text().split()[0])
        finally:
            server.terminate()


def said(port: int, first: bytes) -> socket.socket:
    """A client that has sent this."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)  # as of a network, which makes for small buffers
    client.settimeout(5)
    client.connect(("127.0.0.1", port))
    client.sendall(first)
    return client


def answers(port: int) -> bool:
    """Whether somebody who sends all is answered in time, twice over one connection."""
    with suppress(OSError), said(port, WHOLE) as client:
        for _ in range(2):
            heard = b""
            while not heard.endswith(b"here"):
                piece = client.recv(1000)
                if not piece:
                    return False
                heard += piece
            client.sendall(WHOLE)
        return True
    return False


def memory(process: int) -> int:
    """Bytes that it has of it."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("first", BEGINNINGS.values(), ids=BEGINNINGS)
def test_hundreds_of_slow_clients_take_no_thread(portal: tuple[int, int], first: bytes) -> None:
    """More than there are threads, and some that go on byte by byte: others are answered at once."""
    port, process = portal
    with ExitStack() as stack:
        slow = [stack.enter_context(said(port, first)) for _ in range(200)]
        before = memory(process)
        for trickle in slow[:50]:
            with suppress(OSError):
                trickle.sendall(b"G")
        assert answers(port)
        assert memory(process) - before < 20e6  # of the very same process


def test_who_begins_too_many_requests_makes_room_for_others(portal: tuple[int, int]) -> None:
    """Beyond what the server accepts at a time, who has waited longest goes, though it speaks in the same moment."""
    port, process = portal
    with ExitStack() as stack:
        slow = [stack.enter_context(said(port, b"G")) for _ in range(1100)]
        for talks in slow[:500]:
            with suppress(OSError):
                talks.sendall(b"E")
            stack.enter_context(said(port, b"G"))
        assert answers(port)
        with suppress(ConnectionResetError):
            assert slow[0].recv(1) == b""
    assert Path(f"/proc/{process}").exists()


@pytest.mark.parametrize(("first", "status"), REFUSED.items())
def test_what_is_no_request_is_refused_at_once(portal: tuple[int, int], first: bytes, status: bytes) -> None:
    """Two ways to say how long a request is, of which a proxy may believe the other one, among them."""
    with said(portal[0], first) as client:
        heard = client.makefile("rb").read()
        assert heard.split()[1:2] == [status] * bool(status)
