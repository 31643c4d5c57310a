"""The portal's server: gunicorn's threads, none of which waits for who is slow to say what it wants.

Gunicorn gives a thread to each connection, silent or not, and to half a request for as long as the other half takes: as
many of those as there are threads would stop the portal. Here a connection waits at the poller until all of its head is
there, and all of its body where that is as small as any but a file's. And what is answered fits into the socket, but
for files and exports. One who was sent away may have spoken in the same moment: such a call does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from socket import SHUT_WR, SO_SNDBUF, SOL_SOCKET, socket
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from broker.gateways import heads
from broker.gateways.heads import BadHead

SECONDS = 20.0  # for the whole of a request
MOST = 600  # connections that wait; fewer than those that gunicorn accepts at a time
ANSWER = 256 * 1024  # bytes that need not be read before the thread is free; the kernel takes twice as many
AT_ONCE = 0.005  # seconds
BODY = 64 * 1024  # bytes, as web.app takes them


class Worker(ThreadWorker):  # type: ignore[misc]
    """As the library's, but for what waits."""

    def accept(self, listener: Any) -> None:
        """Somebody has come, and waits; where too many do, the one who has waited longest goes."""
        with suppress(BlockingIOError, ConnectionAbortedError):
            client, address = listener.accept()
            client.setsockopt(SOL_SOCKET, SO_SNDBUF, ANSWER)
            self.nr_conns += 1
            if len(self.pending_conns) + len(self.keepalived_conns) >= MOST:
                self._drop((self.pending_conns or self.keepalived_conns).popleft())
            self._await(TConn(self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket) -> None:
        """Of one that stayed for another request, it begins."""
        if conn not in self.keepalived_conns:
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await(conn)

    def on_pending_socket_readable(self, conn: TConn, client: socket) -> None:
        """Give it a thread once all is there."""
        if conn not in self.pending_conns:
            return
        try:
            if heads.is_there(client, body=BODY):
                super().on_pending_socket_readable(conn, client)
        except BlockingIOError:
            pass
        except (BadHead, OSError) as error:
            self.pending_conns.remove(conn)
            with suppress(OSError):
                client.send(getattr(error, "answer", b""))
                client.recv(heads.LARGEST + BODY)  # what is left unread would take the answer back
            self._drop(conn)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """The connection stays for another request, or is closed without waiting for who should close it, too. Who has
        sent the next request already, which no browser does, must come again: it may be half of one."""
        if _goes_well(fs) and not conn.parser.unreader.buf.getvalue():
            super().finish_request(conn, fs)
        else:
            self._close(conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """What is left of a small body is there; what is left of a large one, which was not wanted, is not awaited."""
        size = next((int(value) for name, value in conn.parser.mesg.headers if name == "CONTENT-LENGTH"), 0)
        if size <= BODY:
            return bool(super()._keepalive_after(conn, keepalive))
        return bool(keepalive and conn.parser.finish_body(deadline=time.monotonic() + AT_ONCE))

    def _close(self, conn: TConn) -> None:
        """Say that no more comes, and hear the rest out, so that the answer is not taken back."""
        try:
            conn.sock.shutdown(SHUT_WR)
        except OSError:  # it is closed already, as who had a WebSocket of it leaves it
            self._drop(conn)
        else:
            self._await(conn, self._ebb)

    def _ebb(self, conn: TConn, client: socket) -> None:
        if conn not in self.pending_conns:
            return
        with suppress(BlockingIOError):
            try:
                if client.recv(heads.LARGEST + BODY):
                    return
            except ConnectionError:
                pass
            self.pending_conns.remove(conn)
            self._drop(conn)

    def _await(self, conn: TConn, then: Callable[[TConn, socket], None] | None = None) -> None:
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(then or self.on_pending_socket_readable, conn))

    def _drop(self, conn: TConn) -> None:
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


def _goes_well(fs: Future[Any]) -> bool:
    return fs.done() and not fs.cancelled() and fs.exception() is None and fs.result() is True
