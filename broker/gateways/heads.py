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
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)


class BadHead(Exception):
    """Raised where no request will come of it; its text says why, and `answer` is what its sender is to hear."""

    def __init__(self, why: str, status: bytes = b"") -> None:
        super().__init__(why)
        ending = b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.answer = b"HTTP/1.1 " + status + ending if status else b""


def is_there(connection: socket.socket) -> bool:
    """Whether all of the head is there. BadHead where there will be none, or where a body would follow that does not
    say how long it is."""
    seen = connection.recv(LARGEST, socket.MSG_PEEK)
    whole = bool(seen) and end(seen) is not None
    if not whole and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED:
        raise BadHead("it left")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 if whole else len(seen) + 1)
    return whole


def end(seen: bytes) -> int | None:
    """Where the head of a request ends that begins so; None while more of it must come. Pure."""
    if not seen[:1].isupper():
        raise BadHead("it does not speak HTTP")
    found = _END.search(seen)
    if found is None and len(seen) >= LARGEST:
        raise BadHead("its head is too large", b"431 Request Header Fields Too Large")
    if found is not None and _CODING.search(seen[: found.end()]):
        raise BadHead("it does not say how long it is", b"411 Length Required")
    return found and found.end()
