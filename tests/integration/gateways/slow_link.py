"""A long and narrow way to an address: what is sent over it waits, byte for byte, as on a real link."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Queue

PIECE = 2048
WAITING = 32  # pieces that the narrow place holds, as a router would, before it takes no more


class SlowLink:
    """Carries connections to `target`. Its `rate` (bytes a second) and `delay` (seconds), each way, may be changed."""

    def __init__(self, target: str, rate: float, delay: float) -> None:
        self.rate, self.delay = rate, delay
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        _start(self._accept)

    def close(self) -> None:
        """Take no more connections; those that are open end by themselves."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
                far.connect(self._target)
                self._carry(near, far)
                self._carry(far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        waiting: Queue[bytes] = Queue(WAITING)
        flying: Queue[tuple[float, bytes]] = Queue()
        _start(lambda: self._take(source, waiting))
        _start(lambda: self._squeeze(waiting, flying))
        _start(lambda: _land(flying, sink))

    def _take(self, source: socket.socket, waiting: Queue[bytes]) -> None:
        data = b"first"
        while data:
            try:
                data = source.recv(PIECE)
            except OSError:
                data = b""
            waiting.put(data)

    def _squeeze(self, waiting: Queue[bytes], flying: Queue[tuple[float, bytes]]) -> None:
        data, through = b"first", time.monotonic()
        while data:
            data = waiting.get()
            through = max(through, time.monotonic()) + len(data) / self.rate
            time.sleep(max(0.0, through - time.monotonic()))
            flying.put((through + self.delay, data))


def _land(flying: Queue[tuple[float, bytes]], sink: socket.socket) -> None:
    with suppress(OSError):
        while True:
            due, data = flying.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def _start(work: object) -> None:
    threading.Thread(target=work, daemon=True).start()  # type: ignore[arg-type]


@contextmanager
def slow_link(target: str, *, rate: float, delay: float) -> Iterator[SlowLink]:
    """Such a way to `target`, for a while."""
    link = SlowLink(target, rate, delay)
    try:
        yield link
    finally:
        link.close()
