"""The portal's own process, `beamdesk web`, while more are slow than it has threads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2

from tests.conftest import NewPerson
from tests.integration.web.served import LivePage, web_process
from tests.ports import free_port
from tests.waiting import until

BEGINNINGS = (
    b"",
    b"GET / HT",
    b"POST /api/v1/sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"x" * 50_000,
    b"GET /sign-in HTTP/1.1\r\nHost: x\r\n\r\n",
)


@contextmanager
def slow(port: int) -> Iterator[list[socket.socket]]:
    """Clients that are silent, send half of something, or do not read; more than may wait at a time."""
    with ExitStack() as stack:
        clients = []
        for number in range(500):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)))
            with suppress(OSError):  # it had to make room
                clients[-1].sendall(BEGINNINGS[number % len(BEGINNINGS)])
        yield clients


def test_pages_calls_uploads_and_sockets_go_on_while_hundreds_are_slow(new_person: NewPerson) -> None:
    """All of them, one after the other over one connection; then memory and descriptors are what they were."""
    new_person("alice")
    port = free_port()
    with web_process(port) as gunicorn:
        worker = Path(f"/proc/{Path(f'/proc/{gunicorn}/task/{gunicorn}/children').read_text().split()[0]}")
        _goes_on(port)
        files, memory = len(list((worker / "fd").iterdir())), _memory(worker)
        with slow(port) as clients:
            _goes_on(port)
            for trickle in clients[-100:]:
                trickle.sendall(b"G")
            _goes_on(port)
        until(lambda: len(list((worker / "fd").iterdir())) <= files + 3, "their sockets to be closed")
        assert _memory(worker) - memory < 20e6


def _goes_on(port: int) -> None:
    path, query = "/api/v1/sessions/1/files", {"folder": "", "name": "x"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as alice:
        credentials = {"name": "alice", "password": "alice-secret"}
        assert alice.post("/api/v1/sign-in", json=credentials).status_code == 200
        live = LivePage(f"127.0.0.1:{port}", alice.cookies["beamdesk"])
        for _ in range(2):
            assert "Sign out" in alice.get("/").text
            answer = alice.post(path, params=query, content=b"x" * 300_000, headers={"X-Requested-With": "test"})
            assert answer.status_code == 404, answer.text
        live.close()


def _memory(worker: Path) -> int:
    return int((worker / "statm").read_text().split()[1]) * 4096
