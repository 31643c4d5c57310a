"""A proxy before a real API that answers wrongly where it is told to: `proxy.when("POST", "/servers", lose())`."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SKIPPED = ("content-length", "transfer-encoding", "connection", "date", "server")


@dataclass(frozen=True)
class Answer:
    """What the API answered, or what we answer in its place."""

    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


Forward = Callable[[], Answer]
Fault = Callable[["_Handler", Forward], Answer | None]  # None: the connection is closed without a word


def say(status: int, body: str = "{}", **headers: str) -> Fault:
    """Answer this, and ask nobody: say(429, Retry_After="2")."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return lambda handler, forward: Answer(status, body.encode(), (("Content-Type", "application/json"), *named))


def hang_up() -> Fault:
    """Close the connection at once."""
    return lambda handler, forward: None


def lose() -> Fault:
    """Let the API do it, and lose its answer."""

    def fault(handler: _Handler, forward: Forward) -> None:
        forward()

    return fault


def keep_silent() -> Fault:
    """Never answer, until the proxy ends."""

    def fault(handler: _Handler, forward: Forward) -> None:
        handler.proxy.ended.wait()

    return fault


def be_late(seconds: float) -> Fault:
    """Let the API do it, and answer so much later."""

    def fault(handler: _Handler, forward: Forward) -> Answer:
        answer = forward()
        handler.proxy.ended.wait(seconds)
        return answer

    return fault


def fail_with(status: int) -> Fault:
    """Let the API do it, and say that it failed."""

    def fault(handler: _Handler, forward: Forward) -> Answer:
        forward()
        return Answer(status)

    return fault


def cut() -> Fault:
    """Break off in the middle of the answer."""

    def fault(handler: _Handler, forward: Forward) -> None:
        answer = forward()
        handler.begin(answer, len(answer.body))
        handler.wfile.write(answer.body[: len(answer.body) // 2])

    return fault


def change(edit: Callable[[bytes], bytes]) -> Fault:
    """Let the API answer, and change what it said."""

    def fault(handler: _Handler, forward: Forward) -> Answer:
        answer = forward()
        return Answer(answer.status, edit(answer.body), answer.headers)

    return fault


@dataclass
class Rule:
    """A fault for requests of this method whose address and body match; so many `times`, or for ever."""

    method: str
    matches: re.Pattern[str]
    fault: Fault
    times: int | None


@dataclass
class Proxy:
    """A running proxy: where it is, and what came by, as (moment, method, address and body)."""

    upstream: str
    port: int = 0
    rules: list[Rule] = field(default_factory=list)
    seen: list[tuple[float, str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Where it listens, with the API's own path."""
        return f"http://127.0.0.1:{self.port}{urlsplit(self.upstream).path}"

    def when(self, method: str, matches: str, fault: Fault, *, times: int | None = None) -> None:
        """Have the fault for what matches; an earlier rule comes first."""
        self.rules.append(Rule(method, re.compile(matches, re.DOTALL), fault, times))

    def heal(self) -> None:
        """No fault any more, and it listens again."""
        self.rules.clear()
        if self._server is None:
            self.listen()

    def listen(self) -> None:
        """Answer at the port; the same one again after `refuse()`."""
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def refuse(self) -> None:
        """Nobody listens at the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def requests(self, method: str, matches: str) -> list[float]:
        """When such requests came."""
        return [at for at, way, what in list(self.seen) if way == method and re.search(matches, what, re.DOTALL)]

    def fault_for(self, method: str, what: str) -> Fault | None:
        """The first rule's that matches, counted."""
        with self._lock:
            self.seen.append((time.monotonic(), method, what))
            for rule in self.rules:
                if rule.method == method and rule.matches.search(what) and rule.times != 0:
                    rule.times = None if rule.times is None else rule.times - 1
                    return rule.fault
        return None


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before the API at this address."""
    made = Proxy(upstream)
    made.listen()
    try:
        yield made
    finally:
        made.ended.set()
        made.refuse()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are meant."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def handle_any(self) -> None:
        """One request: forwarded, unless a rule says otherwise."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.fault_for(self.command, f"{self.path} {body.decode(errors='replace')}")
        answer = self._forward(body) if fault is None else fault(self, lambda: self._forward(body))
        if answer is None:
            self.close_connection = True
            return
        with suppress(OSError):
            self.begin(answer, len(answer.body))
            self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

    def begin(self, answer: Answer, length: int) -> None:
        """The answer's head."""
        self.send_response(answer.status)
        for name, value in answer.headers:
            if name.lower() not in SKIPPED:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _forward(self, body: bytes) -> Answer:
        place = urlsplit(self.proxy.upstream)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        found = Answer(answer.status, answer.read(), tuple(answer.getheaders()))
        connection.close()
        return found

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
