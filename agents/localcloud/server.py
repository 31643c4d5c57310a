"""The cloud's HTTP API, JSON on a unix socket; only root and the owner may speak to it."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import traceback
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from agents.localcloud import cgroups
from agents.localcloud.cloud import Cloud
from agents.localcloud.config import CloudError, ConfigError, listed

LARGEST_BODY = 64 * 1024
LONGEST_SOCKET = 107  # what the kernel's sun_path holds
Answer = tuple[int, Any]

ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", r"/v1", lambda c, _: (200, {"name": c.config.name, "version": 1, "cgroup": cgroups.version()})),
    ("GET", r"/v1/sizes", lambda c, _: (200, listed(c.config.sizes))),
    ("GET", r"/v1/images", lambda c, _: (200, c.images())),
    ("POST", r"/v1/images", lambda c, body: (201, c.save_image(body))),
    ("DELETE", r"/v1/images/([\w.-]+)", lambda c, _, id_: (204, c.drop_image(id_))),
    ("GET", r"/v1/locations", lambda c, _: (200, listed(c.config.locations))),
    ("GET", r"/v1/nodes", lambda c, _: (200, c.nodes())),
    ("POST", r"/v1/nodes", lambda c, body: (202, c.create(body))),
    ("GET", r"/v1/nodes/([\w.-]+)", lambda c, _, id_: (200, c.node(id_))),
    ("DELETE", r"/v1/nodes/([\w.-]+)", lambda c, _, id_: (202, c.destroy(id_))),
    ("PUT", r"/v1/nodes/([\w.-]+)/tags", lambda c, body, id_: (200, c.tag(id_, body))),
    ("GET", r"/v1/volumes", lambda c, _: (200, c.volumes())),
    ("POST", r"/v1/volumes", lambda c, body: (201, c.make_volume(body))),
    ("DELETE", r"/v1/volumes/([\w.-]+)", lambda c, _, name: (204, c.drop_volume(name))),
    ("POST", r"/v1/nodes/([\w.-]+)/volumes", lambda c, body, id_: (200, c.attach(id_, body))),
    ("DELETE", r"/v1/nodes/([\w.-]+)/volumes/([\w.-]+)", lambda c, _, id_, name: (204, c.detach(id_, name))),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Server

    def _serve(self) -> None:
        try:
            status, value = self._answer()
        except CloudError as error:
            status, value = error.status, _problem(error.code, error.message)
        except Exception as error:
            self.log_error("%s", traceback.format_exc())
            status, value = 500, _problem("fault", f"{type(error).__name__}: {error}")
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def _answer(self) -> Answer:
        body = self._body()
        matches = [(method, found, act) for method, path, act in ROUTES if (found := re.fullmatch(path, self.path))]
        for method, found, act in matches:
            if method == self.command:
                return act(self.server.cloud, body, *found.groups())
        raise CloudError(405 if matches else 404, "no-such-call", f"there is no {self.command} {self.path}")

    def _body(self) -> dict[str, Any]:
        stated = self.headers.get("Content-Length", "0")
        length = int(stated) if stated.isdecimal() else -1
        if length < 0 or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise CloudError(411, "no-length", "the request must state its length")
        if length > LARGEST_BODY:
            self.close_connection = True
            self.rfile.read(min(length, 16 * LARGEST_BODY))  # unread, it would cost the client our answer
            raise CloudError(413, "too-large", f"the request is too large; at most {LARGEST_BODY} bytes are read")
        text = self.rfile.read(length)
        try:
            value = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise CloudError(400, "bad-json", "the body must be a JSON object")
        return value

    def address_string(self) -> str:
        return "unix"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only what changes something is logged."""
        if self.command != "GET":
            super().log_request(code, size)


def _problem(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


class Server(ThreadingMixIn, UnixStreamServer):
    """Serves one cloud."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cloud: Cloud, path: Path, owner: int) -> None:
        self.cloud, self.owner = cloud, owner
        super().__init__(str(path), _Handler)
        os.chown(path, owner, -1)
        path.chmod(0o600)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Only root and the owner."""
        peer = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return struct.unpack("3i", peer)[1] in (0, self.owner)


def free(path: Path) -> None:
    """Make way for the API's socket: a dead daemon's is removed, a living one's is an error."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; make it, or give --socket another path")
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise ConfigError(f"{path}: too long for a socket (at most {LONGEST_SOCKET} bytes); give --socket another path")
    if path.exists() and not path.is_socket():
        raise ConfigError(f"{path} is no socket; remove it, or give --socket another path")
    with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
        probe.connect(str(path))
        raise ConfigError(f"{path} is in use: a local cloud is running there already")
    path.unlink(missing_ok=True)
