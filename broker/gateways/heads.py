"""Waits for a request's head where that costs a socket alone: no thread and no process, however slowly it comes.

The bytes are looked at and left in the socket, for the server that reads them. Meanwhile the socket counts as readable
only once more has come than was seen: so who sends a byte now and then costs one look for each.
"""

from __future__ import annotations

import re
import socket

LARGEST = 32 * 1024  # bytes of a head
ESTABLISHED = 1  # of the kernel's states of TCP
_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*(\d+)[ \t]*\r?\n", re.IGNORECASE)
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)


class BadHead(Exception):
    """Raised where no request will come of it; its text says why, and `answer` is what its sender is to hear."""

    def __init__(self, why: str, status: bytes = b"") -> None:
        super().__init__(why)
        ending = b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.answer = b"HTTP/1.1 " + status + ending if status else b""


def is_there(connection: socket.socket, *, body: int = 0) -> bool:
    """Whether all of the head is there, and all of a body that has no more than so many bytes. BadHead where there
    will be none, or where the length of its body is not said."""
    seen = connection.recv(LARGEST + body, socket.MSG_PEEK)
    wanted = needed(seen, body) if seen else None
    more = wanted is None or len(seen) < wanted
    if more and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED:
        raise BadHead("it left")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(seen) + 1 if more else 1)
    return not more


def needed(seen: bytes, body: int) -> int | None:
    """How many bytes must be there, of a request that begins so; None while that cannot be said. Pure."""
    if not seen[:1].isupper():
        raise BadHead("it does not speak HTTP")
    end = _END.search(seen)
    if end is None:
        if len(seen) >= LARGEST:
            raise BadHead("its head is too large", b"431 Request Header Fields Too Large")
        return None
    head = seen[: end.end()]
    if _CODING.search(head):
        raise BadHead("it does not say how long it is", b"411 Length Required")
    length = _LENGTH.search(head)
    size = int(length[1]) if length and len(length[1]) < 20 else 0
    return len(head) + (size if size <= body else 0)
