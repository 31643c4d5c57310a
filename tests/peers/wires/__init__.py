"""Recorded wires: small servers that answer as a provider's documentation, and Libcloud's recorded answers, have it.

Nobody else's code is behind them: they show that our requests are formed and our answers read as we understand the
provider, with a state between them, and never that the provider agrees.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from libcloud.http import LibcloudConnection

# What cloud-init writes to a console
CONSOLE = """\
-----BEGIN SSH HOST KEY KEYS-----
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKFf0bXTJDHtQR4XfTGsr8kRzUO0cTzyjuVFmkjBXFhQ root@light-1
-----END SSH HOST KEY KEYS-----
"""


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, where it is JSON."""
        return json.loads(self.body)


class Lost(Exception):
    """Raised by a wire whose answer gets lost on the way."""


Answer = tuple[int, Any]  # HTTP's status, and what is sent: bytes as they are, None as nothing, all else as JSON


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[int]:
    """A server on the loopback that answers one request after the other; its port."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            place = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, place.path, dict(parse_qsl(place.query)), dict(self.headers), body)
            try:
                with turn:
                    status, said = answer(asked)
            except Lost:
                self.close_connection = True
                return
            sent = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_PUT = do_POST = do_DELETE = _answer

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def connection_to(here: int) -> type[LibcloudConnection]:
    """What Libcloud's drivers connect by, which leads to the server there whatever host they name."""

    class Here(LibcloudConnection):
        def __init__(self, *_: Any, timeout: float | None = None, **__: Any) -> None:
            super().__init__("127.0.0.1", here, secure=False, timeout=timeout)

    return Here
