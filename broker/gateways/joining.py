"""Joins a client and a machine: what either says reaches the other, until one of them leaves.

Neither side's slowness is stored: a side is read only when the other one has taken all. A client that stalls holds
back its own machine's socket and nothing else; one that stalls for good is let go.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import NoReturn

from broker.connections.stand_in import Exchange
from broker.gateways.patience import Patience

PIECE = 1 << 16  # bytes that are decrypted at a time
PIECES = 16  # that one direction carries before the other one has its turn
LARGE = 1 << 18  # of the pipe for what the desktop shows: fewer wakings, and more MB/s where processors are busy
SMALL = 1 << 14  # of the one for what a user does, of which there is little

Socket = socket.socket


class Left(Exception):
    """Raised when there is nothing left to carry; its text says why."""


class Flow(ABC):
    """One direction: from `source`, of this name, to `sink`. `held` bytes are on their way; `more` waits where no poll
    sees it."""

    def __init__(self, source: Socket, sink: Socket, name: str) -> None:
        self.source, self.sink, self._name = source, sink, name
        self.held = 0
        self.more = False
        self._moved = time.monotonic()

    def carry(self) -> None:
        """Carry what can be carried now. Left where the source has."""
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self.more = False
            for _ in range(PIECES):
                if not self.held:
                    self._take()
                self._give()
            self.more = self._has_more()

    def must_move(self, seconds: float) -> None:
        """Left where what is on its way has been there for so long."""
        if self.held and time.monotonic() - self._moved > seconds:
            raise Left(f"what {self._name} says is not taken any more")

    def _take(self) -> None:
        self.held = self._read()
        self._moved = time.monotonic()
        if not self.held:
            raise Left(f"{self._name} left")

    def _give(self) -> None:
        while self.held:
            self.held -= self._write()
            self._moved = time.monotonic()

    def _has_more(self) -> bool:
        return False

    @abstractmethod
    def _read(self) -> int:
        """Take something from the source; how much, 0 at its end."""

    @abstractmethod
    def _write(self) -> int:
        """Give something of what is held to the sink; how much."""


class Splice(Flow):
    """Through a pipe in the kernel: the bytes never come into this process's memory."""

    def __init__(self, source: Socket, sink: Socket, name: str, pipe: tuple[int, int]) -> None:
        super().__init__(source, sink, name)
        self._out, self._in = pipe

    def _read(self) -> int:
        return os.splice(self.source.fileno(), self._in, LARGE, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)

    def _write(self) -> int:
        return os.splice(self._out, self.sink.fileno(), self.held, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)


class Copy(Flow):
    """Between two sockets of TLS, which decrypt and encrypt it here; `exchange` sees what is said first."""

    def __init__(self, source: ssl.SSLSocket, sink: ssl.SSLSocket, name: str, exchange: Exchange | None) -> None:
        super().__init__(source, sink, name)
        self._tls, self._exchange = source, exchange
        self._buffer = memoryview(bytearray(PIECE))
        self._waiting = self._buffer[:0]

    def _read(self) -> int:
        while size := self.source.recv_into(self._buffer):
            self._waiting = self._exchanged(self._buffer[:size])
            if self._waiting:
                return len(self._waiting)
        return 0

    def _exchanged(self, said: memoryview) -> memoryview:
        if self._exchange is None:
            return said
        passed = memoryview(self._exchange.pass_on(bytes(said)))
        if self._exchange.done:
            self._exchange = None
        return passed

    def _write(self) -> int:
        sent = self.sink.send(self._waiting)
        self._waiting = self._waiting[sent:]
        return sent

    def _has_more(self) -> bool:
        return bool(self._tls.pending())


def join(client: Socket, machine: Socket, patience: Patience, exchange: Exchange | None = None) -> None:
    """Carry until Left or an OSError says that it is over. `exchange` is for a client whose TLS ends here."""
    for side in (client, machine):
        side.setblocking(False)
    if isinstance(client, ssl.SSLSocket) and isinstance(machine, ssl.SSLSocket):
        said = Copy(client, machine, "the client", exchange)
        _carry(said, Copy(machine, client, "the machine", None), patience)
    else:
        with _pipe(SMALL) as up, _pipe(LARGE) as down:
            _carry(Splice(client, machine, "the client", up), Splice(machine, client, "the machine", down), patience)


@contextmanager
def _pipe(size: int) -> Iterator[tuple[int, int]]:
    out, in_ = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(PermissionError):  # where an account has many of them, they are small anyway
            fcntl(in_, F_SETPIPE_SZ, size)
        yield out, in_
    finally:
        os.close(out)
        os.close(in_)


def _carry(up: Flow, down: Flow, patience: Patience) -> NoReturn:
    poll = select.poll()
    client, machine = up.source.fileno(), down.source.fileno()
    ready = {client: select.POLLIN, machine: select.POLLIN}
    while True:
        if up.more or ready.get(client, 0) & select.POLLIN or ready.get(machine, 0) & select.POLLOUT:
            up.carry()
        if down.more or ready.get(machine, 0) & select.POLLIN or ready.get(client, 0) & select.POLLOUT:
            down.carry()
        poll.register(client, _wanted(up, down))
        poll.register(machine, _wanted(down, up))
        ready = dict(poll.poll(0 if up.more or down.more else patience.heartbeat * 1000))
        for flow in (up, down):
            flow.must_move(patience.silence)
        if any(events & ~(select.POLLIN | select.POLLOUT) and not events & select.POLLIN for events in ready.values()):
            raise Left("a connection broke")


def _wanted(saying: Flow, hearing: Flow) -> int:
    """What to wait for on the socket that says the one and hears the other."""
    return (0 if saying.held else select.POLLIN) | (select.POLLOUT if hearing.held else 0)
