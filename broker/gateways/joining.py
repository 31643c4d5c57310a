"""Joins a client and a machine: what either says reaches the other, until one of them leaves.

Neither side's slowness is stored: a side is read only when the other one has taken all. A client that stalls holds
back its own machine's socket and nothing else; one that stalls for good is let go.
"""

from __future__ import annotations

import select
import time
from typing import NoReturn

from broker.connections.stand_in import Exchange
from broker.gateways.patience import Patience
from broker.gateways.sides import NOT_YET, RECORD, Side

IN, OUT = select.POLLIN, select.POLLOUT
PIECE = 1 << 16  # bytes that are read at a time
PIECES = 16  # that one direction carries before the other one has its turn


class Left(Exception):
    """Raised when there is nothing left to carry; its text says why."""


class Flow:
    """One direction: from `source`, of this name, to `sink`; `exchange` sees what is said first. `held` bytes are on
    their way; `more` waits where no poll sees it."""

    def __init__(self, source: Side, sink: Side, name: str, exchange: Exchange | None = None) -> None:
        self.source, self.sink, self._name, self._exchange = source, sink, name, exchange
        self._buffer = memoryview(bytearray(PIECE))
        self._waiting = self._buffer[:0]
        self.more = self._full = False
        self._moved = time.monotonic()

    @property
    def held(self) -> int:
        """How many bytes were read, and are not yet given."""
        return len(self._waiting)

    def carry(self) -> None:
        """Carry what can be carried now. Left where the source has."""
        self.more = False
        try:
            for _ in range(PIECES):
                if not self._waiting:
                    self._take()
                self._give()
                if not self._full and not self.source.pending():
                    return  # a poll sees what comes now, and costs less than a read that finds nothing
        except NOT_YET:
            return
        self.more = bool(self.source.pending())

    def must_move(self, seconds: float) -> None:
        """Left where what is on its way has been there for so long."""
        if self._waiting and time.monotonic() - self._moved > seconds:
            raise Left(f"what {self._name} says is not taken any more")

    def _take(self) -> None:
        size = read = self.source.recv_into(self._buffer)
        self._moved = time.monotonic()
        if not size:
            raise Left(f"{self._name} left")
        try:
            while read == RECORD and size + RECORD <= PIECE:
                size += (read := self.source.recv_into(self._buffer[size:]))
        except OSError:  # that comes again
            pass
        self._full = read == RECORD or size == PIECE
        self._waiting = self._exchanged(self._buffer[:size])

    def _give(self) -> None:
        while self._waiting:
            self._waiting = self._waiting[self.sink.send(self._waiting) :]
            self._moved = time.monotonic()

    def _exchanged(self, said: memoryview) -> memoryview:
        if self._exchange is None:
            return said
        passed = memoryview(self._exchange.pass_on(bytes(said)))
        if self._exchange.done:
            self._exchange = None
        return passed


def join(client: Side, machine: Side, patience: Patience, exchange: Exchange | None = None) -> None:
    """Carry until Left or an OSError says that it is over. `exchange` is for a client whose TLS ends here."""
    for side in (client, machine):
        side.setblocking(False)
    said = Flow(client, machine, "the client", exchange)
    _carry(said, Flow(machine, client, "the machine"), patience)


def _carry(up: Flow, down: Flow, patience: Patience) -> NoReturn:
    poll = select.poll()
    client, machine = up.source.fileno(), down.source.fileno()
    ready, held = {client: IN, machine: IN}, True
    while True:
        of_client, of_machine = ready.get(client, 0), ready.get(machine, 0)
        if up.more or of_client & IN or of_machine & OUT:
            up.carry()
        if down.more or of_machine & IN or of_client & OUT:
            down.carry()
        before, held = held, bool(up.held or down.held)
        if held or before:
            poll.register(client, _wanted(up, down))
            poll.register(machine, _wanted(down, up))
        ready = dict(poll.poll(0 if up.more or down.more else patience.heartbeat * 1000))
        if held:
            up.must_move(patience.silence)
            down.must_move(patience.silence)
        for events in ready.values():
            if events & ~(IN | OUT) and not events & IN:
                raise Left("a connection broke")


def _wanted(saying: Flow, hearing: Flow) -> int:
    """What to wait for on the socket that says the one and hears the other."""
    return (0 if saying.held else IN) | (OUT if hearing.held else 0)
