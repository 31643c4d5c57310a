"""Gunicorn's own worker, before which connections wait in a lobby until there is something to do for a thread.

The library gives a thread to each connection's first bytes, and to half a request for as long as the other half takes:
as many of those as there are threads stop it. Here the lobby has a poller of its own, which the library's loop looks at
as at one more socket; the library is handed a whole request, serves it as ever, and gives the connection back.

A connection belongs to one side at a time, and changes hands with its file descriptor taken out of the object that
the former side knew. So a WebSocket may close its own whenever it likes: the number, once it is somebody else's, is
nobody's but theirs, and no poller has it. How many there are is looked up at each turn, not counted up and down.
"""

from __future__ import annotations

import math
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import structlog
from gunicorn.http.message import Request as ParsedRequest
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn, ThreadWorker

from broker.gateways.heads import BadHead
from broker.gateways.lobby import LEFT_OVER, Lobby
from web.server import request
from web.server.patient import ANSWER, Incoming, Patience, PatientSocket
from web.server.request import Request

log = structlog.get_logger()

MOST = 400  # whose request is awaited, or who stay for another; serve.py lets gunicorn have more than both of these
MOST_LEAVING = 100  # who were told that no more comes
LEAVES_IN = 2.0  # seconds
STOPS_IN = 1.0  # seconds for a request that is on its way as the server stops
GONE_AFTER = 60_000  # milliseconds for which the kernel waits for who takes nothing
PAUSE = 0.05  # seconds, where descriptors or memory have run out


@dataclass(frozen=True)
class _Served:
    client: str
    request: Request


class _Parsed(ParsedRequest):  # type: ignore[misc]
    """Whose answer says that the connection ends where it begins before all of a large body was read."""

    def should_close(self) -> bool:
        """Asked as the answer's head is written, and at its end."""
        return bool(super().should_close()) or self.unreader.sock.missing > 0


class _Parser(RequestParser):  # type: ignore[misc]
    mesg_class = _Parsed


class Worker(ThreadWorker):  # type: ignore[misc]
    """As the library's, but for where connections wait."""

    patience = Patience()

    def init_process(self) -> None:
        """In the worker's own process: the lobby, and whom it lets out."""
        self._selector = DefaultSelector()
        seconds = float(self.cfg.keepalive)
        self._lobby = Lobby(
            "web", self._selector, request.read, self._admit, seconds=seconds, most=MOST, may_be_silent=True
        )
        self._leaving = Lobby(
            "web", self._selector, _ebb, self._admit, seconds=LEAVES_IN, most=MOST_LEAVING, may_be_silent=True
        )
        self._served: dict[TConn, _Served] = {}
        self._ends = math.inf
        for listener in self.sockets:  # those whom it accepts have it from it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANSWER)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER)
        super().init_process()

    def run(self) -> None:
        """The library's loop, which looks at the lobby, too."""
        self.poller.register(self._selector.fileno(), EVENT_READ, self._look)
        super().run()

    def set_accept_enabled(self, enabled: bool) -> None:
        """As the server stops, whoever has come is let in, and nobody else comes."""
        super().set_accept_enabled(enabled)
        if not self.alive:
            self._ends = time.monotonic() + STOPS_IN
            for listener in self.sockets:
                with suppress(BlockingIOError):
                    while True:
                        self._let_in(listener)
                listener.close()

    def accept(self, listener: Any) -> None:
        """Somebody has come."""
        with suppress(BlockingIOError):
            self._let_in(listener)

    def _let_in(self, listener: Any) -> None:
        """As far as the lobby; BlockingIOError where nobody else is there. Where no descriptor is left, the one who has
        waited longest goes."""
        try:
            connection, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            raise BlockingIOError from None
        except OSError as error:
            log.warning("web.accept", error=str(error))
            self._lobby.make_room()
            time.sleep(PAUSE)
            raise BlockingIOError from error
        else:
            self._lobby.enter(connection, str(address[0]))

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """The connection goes back to the lobby, or is seen out. One that is closed already, as who had a WebSocket of
        it leaves it, is nobody's."""
        served = self._served.pop(conn)
        number = conn.sock.detach()
        if number < 0:
            return
        connection = socket.socket(conn.sock.family, conn.sock.type, conn.sock.proto, fileno=number)
        if _goes_on(fs):
            self._lobby.enter(connection, served.client, served.request.behind)
        else:
            self._see_out(connection, served.client)

    def murder_pending(self) -> None:
        """What the library does at each turn of its loop: nobody waits for too long, and how many there are."""
        self._lobby.expire(0 if time.monotonic() > self._ends else None)
        self._leaving.expire()
        self.nr_conns = len(self._served) + len(self._lobby) + len(self._leaving)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One turn; a short one where only the lobby's clock may end it all."""
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, PAUSE))

    def _look(self, _: int) -> None:
        for key, _ in self._selector.select(0):
            key.data()

    def _admit(self, connection: socket.socket, client: str, request: Request) -> None:
        """Give the request to the library, which asks for a thread."""
        with suppress(OSError):  # it has gone
            peer, here = connection.getpeername(), connection.getsockname()
            patient = PatientSocket(connection, self.patience)
            conn = TConn(self.cfg, patient, peer, here)
            conn.parser, conn.data_ready = _Parser(self.cfg, Incoming(request, patient), peer), True
            self._served[conn] = _Served(client, request)
            self.enqueue_req(conn)
            return
        connection.close()

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Not where the library takes the request for longer or shorter than it was cut."""
        lengths = [int(value) for name, value in conn.parser.mesg.headers if name == "CONTENT-LENGTH"]
        return bool(keepalive) and sum(lengths) == self._served[conn].request.length

    def _see_out(self, connection: socket.socket, client: str) -> None:
        """Say that no more comes, and hear the rest out: unread, it would take the answer back."""
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # it has gone
            connection.close()
        else:
            self._leaving.enter(connection, client)


def _goes_on(fs: Future[Any]) -> bool:
    return not fs.cancelled() and fs.exception() is None and fs.result() is True


def _ebb(connection: socket.socket, heard: bytearray) -> Request | None:
    """Nothing, whatever it says, until it goes."""
    if not connection.recv(LEFT_OVER):
        raise BadHead("it left")
    return None
