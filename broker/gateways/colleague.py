"""A process beside a listening one, which is told what to do, and is given the sockets for it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from selectors import EVENT_READ
from typing import Any

import structlog

from broker.gateways.listener import EVERY, Listener

log = structlog.get_logger()


class Colleague:
    """It is started with its end of the socket that tells it, and ends when that closes."""

    def __init__(self, listener: Listener, name: str, work: Callable[[socket.socket], None]) -> None:
        self._listener, self._name, self._work = listener, name, work
        self._start()

    def look_after(self) -> None:
        """Start it again where it died, but one that dies at once only now and then. To be called while the listening
        process holds no socket that it does not listen to: a fork would keep it."""
        if self._socket.fileno() < 0 and time.monotonic() - self._began > EVERY:
            self._start()

    def tell(self, words: dict[str, Any], *sockets: socket.socket) -> None:
        """Say this, and hand over the sockets. OSError where nobody hears it."""
        socket.send_fds(self._socket, [json.dumps(words).encode()], [each.fileno() for each in sockets])

    def _start(self) -> None:
        self._began = time.monotonic()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._listener.selector.register(self._socket, EVENT_READ, self._died)
            self._listener.fork(lambda: self._work(theirs))

    def _died(self) -> None:
        """It says nothing: when its socket can be read, it is gone."""
        log.warning(f"{self._listener.name}.died", who=self._name)
        self._listener.selector.unregister(self._socket)
        self._socket.close()
