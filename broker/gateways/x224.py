"""The first packet of each side of an RDP connection ([MS-RDPBCGR] 2.2.1.1 and 2.2.1.2). Pure: bytes in, bytes out.

A client begins with an X.224 connection request. It brings, in the clear, what its file's `loadbalanceinfo` says,
which is our ticket, and the security protocols that it knows; the machine's answer chooses one of these.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

LARGEST = 4 + 1 + 254  # bytes: a TPKT header, and an X.224 header, whose length is one byte
TLS, CREDSSP, CREDSSP_EARLY = 1, 2, 8  # security protocols; 0 is RDP's own, which is none
_TPKT, _REQUEST, _ANSWER = 3, 0xE0, 0xD0
_WISH, _CHOICE, _FAILURE, _CORRELATION = 1, 2, 3, 6  # kinds of what follows the X.224 header
_CORRELATION_FOLLOWS = 8  # a flag
_CORRELATION_SIZE = 36
_COOKIE = re.compile(rb"Cookie: msts=([A-Za-z0-9_-]{16,128}) *")

# Why there is no connection ([MS-RDPBCGR] 2.2.1.2.2)
TLS_REQUIRED, INCONSISTENT = 1, 4


class BadPacket(Exception):
    """Raised for what is no first packet; its text says why not, and `answer` is what its sender is to hear."""

    def __init__(self, why: str, answer: bytes = b"") -> None:
        super().__init__(why)
        self.answer = answer


@dataclass(frozen=True)
class Request:
    """A client's wish: the ticket of its file, and the security protocols and flags as it sent them."""

    ticket: str
    protocols: int
    flags: int


def read_request(data: bytes) -> Request | None:
    """The request, once all of it is there; None before that. BadPacket as soon as it can be none of our files'."""
    body = _body(data, _REQUEST)
    if body is None:
        return None
    token, wish = (b"", body) if body[:1] in (b"", bytes([_WISH])) else _token(body)
    protocols, flags = _wish(wish)
    if not protocols & (TLS | CREDSSP | CREDSSP_EARLY):
        raise BadPacket("it does not speak TLS", refusal(TLS_REQUIRED))
    found = _COOKIE.fullmatch(token)
    if found is None:
        raise BadPacket("it brings no ticket", refusal(INCONSISTENT))
    return Request(found[1].decode(), protocols, flags)


def read_answer(data: bytes) -> int | None:
    """The security protocol that the machine chose, once its answer is there. BadPacket where it chose none."""
    body = _body(data, _ANSWER)
    if body is None:
        return None
    if len(body) != 8:
        raise BadPacket("it would not encrypt")
    kind, _, size, value = struct.unpack("<BBHI", body)
    if (kind, size) == (_FAILURE, 8):
        raise BadPacket(f"it refused the connection ({value})")
    if (kind, size) != (_CHOICE, 8) or value not in (TLS, CREDSSP, CREDSSP_EARLY):
        raise BadPacket("it would not encrypt")
    return int(value)


def request(wish: Request) -> bytes:
    """The request as the machine gets it: without the ticket, which is the gateway's business."""
    return _packet(_REQUEST, struct.pack("<BBHI", _WISH, wish.flags & ~_CORRELATION_FOLLOWS, 8, wish.protocols))


def refusal(reason: int) -> bytes:
    """An answer that says that there will be no connection."""
    return _packet(_ANSWER, struct.pack("<BBHI", _FAILURE, 0, 8, reason))


def _packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxHBBxxxxx", _TPKT, 11 + len(body), 6 + len(body), kind) + body


def _body(data: bytes, kind: int) -> bytes | None:
    """What follows the X.224 header of the one packet that the data are, or are to become."""
    if data[:1] not in (b"", bytes([_TPKT])):
        raise BadPacket("it does not speak RDP")
    if len(data) < 4:
        return None
    size = struct.unpack(">H", data[2:4])[0]
    if not 11 <= size <= LARGEST or len(data) > size:
        raise BadPacket("its first packet has a wrong size")
    if len(data) < size:
        return None
    if data[4] != size - 5 or data[5] != kind or data[10]:
        raise BadPacket("its first packet is none that begins a connection")
    return data[11:]


def _token(body: bytes) -> tuple[bytes, bytes]:
    """The routing token or cookie, and what comes after it."""
    token, end, rest = body.partition(b"\r\n")
    if not end:
        raise BadPacket("its routing token has no end")
    return token, rest


def _wish(data: bytes) -> tuple[int, int]:
    """Protocols and flags of what a request ends with; none where there is nothing."""
    if not data:
        return 0, 0
    if len(data) < 8:
        raise BadPacket("its security protocols are cut short")
    kind, flags, size, protocols = struct.unpack("<BBHI", data[:8])
    rest = data[8:]
    if (kind, size) != (_WISH, 8) or (rest and not _is_correlation(rest)):
        raise BadPacket("its security protocols cannot be read")
    return protocols, flags


def _is_correlation(data: bytes) -> bool:
    """Whether this is an id for the server's log, which some clients send as well."""
    return len(data) == _CORRELATION_SIZE and data[0] == _CORRELATION and data[2:4] == b"\x24\x00"
