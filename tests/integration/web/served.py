"""The application served on a port, and a bare Socket.IO client that speaks no more than it must."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import simple_websocket
from apiflask import APIFlask
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from tests.waiting import until


@contextmanager
def serve(app: APIFlask, port: int = 0) -> Iterator[str]:
    """Serve the application, threads and all; its address as host:port."""
    server = make_server("127.0.0.1", port, app, threaded=True)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def web_process(port: int) -> Iterator[int]:
    """The web process itself, killed with -9 at the end; the number of its gunicorn."""
    environment = {**os.environ, "BEAMDESK_WEB__LISTEN": f"127.0.0.1:{port}"}
    command = [str(Path(sys.executable).parent / "beamdesk"), "web"]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            until(lambda: answers(port), "the web process to answer")
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    """Whether somebody serves there."""
    with suppress(httpx2.TransportError):
        return httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    return False


def is_live(page: Page) -> None:
    """Wait until the page's socket is open."""
    expect(page.locator("html")).to_have_attribute("data-live", "socket")


class LivePage:
    """One open page's socket (Engine.IO 4, Socket.IO 5)."""

    def __init__(self, address: str, token: str = "", *, join: bool = True, origin: str | None = None) -> None:
        headers = {"Cookie": f"beamdesk={token}", **({"Origin": origin} if origin else {})}
        url = f"ws://{address}/socket.io/?EIO=4&transport=websocket"
        self._socket = simple_websocket.Client(url, headers=headers)
        if join:  # asked for at once: this client may not see the server's greeting before more data comes
            self._socket.send("40")
            assert any(packet.startswith("40") for packet in self._packets(20)), "the socket was not joined"

    def _next(self, timeout: float) -> str | None:
        while True:
            packet = self._socket.receive(timeout=timeout)
            if packet != "2":
                return str(packet) if packet is not None else None
            self._socket.send("3")

    def _packets(self, timeout: float) -> Iterator[str]:
        """What comes within so many seconds in all."""
        ends = time.monotonic() + timeout
        while (left := ends - time.monotonic()) > 0 and (packet := self._next(left)) is not None:
            yield packet

    def notices(self, timeout: float = 1.0) -> list[tuple[str, Any]]:
        """What is heard until nothing but pulses comes for `timeout` seconds."""
        found: list[tuple[str, Any]] = []
        while (heard := self._one_of(timeout)) is not None:
            found.append(heard)
        return found

    def _one_of(self, timeout: float) -> tuple[str, Any] | None:
        for packet in self._packets(timeout):
            name, body = json.loads(packet[2:]) if packet.startswith("42") else ("", {})
            if name == "changed":
                return body["kind"], body["id"]
        return None

    def heard(self, name: str, timeout: float = 20.0) -> bool:
        """Whether an event of that name comes."""
        return any(p.startswith("42") and json.loads(p[2:])[0] == name for p in self._packets(timeout))

    def is_closed_within(self, timeout: float) -> bool:
        """Whether the server closes the socket."""
        try:
            return any(packet.startswith("41") for packet in self._packets(timeout))
        except simple_websocket.ConnectionClosed:
            return True

    def close(self) -> None:
        """Close it from here."""
        self._socket.close()
