"""One request, cut out of what a client has sent: all of it, or its beginning where its body is as large as a file's.

Gunicorn's parser is given these bytes, and not the socket: it waits for no head and for no small body, and reads
nothing of the request behind.
"""

from __future__ import annotations

import fcntl
import re
import socket
import sys
import termios
from dataclasses import dataclass

from broker.gateways import heads

BODY = 64 * 1024  # bytes of a body that is awaited; web.app takes no more, but for files
UNTAKEN = 64 * 1024  # bytes of former answers that a client may leave in the socket; more, and the next would not fit
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
_WAITS = re.compile(rb"\nexpect[ \t]*:[ \t]*100-continue[ \t]*\r?(?=\n)", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """What is there of it, how long it says that its body is, and what came behind it."""

    here: bytes
    length: int
    missing: int  # bytes of a large body that are to come
    behind: bytes


def read(connection: socket.socket, heard: bytearray) -> Request | None:
    """The next request, once it is there. Who waits to be told that its body may come is told so."""
    request = cut(bytes(heard)) if heard else None
    if request is None:  # none came with the one before
        piece = connection.recv(heads.LARGEST)
        if not piece:
            raise heads.BadHead("it left")
        heard += piece
        request = cut(bytes(heard))
    if request is not None and _untaken(connection) > UNTAKEN:
        raise heads.BadHead("it takes no answers")
    if request is None and (waits := _waits(bytes(heard))):
        connection.send(CONTINUE)
        del heard[waits.start() : waits.end()]  # or gunicorn would tell it again
    return request


def _untaken(connection: socket.socket) -> int:
    """Bytes that were sent, and that its client has not taken."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def cut(heard: bytes) -> Request | None:
    """The request that this begins with; None while more of it must come, BadHead where none will. Pure."""
    head = heads.end(heard)
    if head is None:
        return None
    said = _LENGTH.search(heard, 0, head)
    length = int(said[1]) if said else 0
    end = head + length
    if len(heard) < end and length <= BODY:
        return None
    return Request(heard[:end], length, max(end - len(heard), 0), heard[end:])


def _waits(heard: bytes) -> re.Match[bytes] | None:
    """Where all of the head is there and says so, the place."""
    head = heads.end(heard)
    return _WAITS.search(heard, 0, head) if head else None
