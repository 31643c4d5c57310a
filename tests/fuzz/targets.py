"""What must hold of the gateways' parsers, whatever bytes come; a broken promise is an exception nobody expects."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlparse, urlsplit

from broker.gateways import heads, rfb_filter, x224
from broker.gateways.door import _bearer, _cookie, is_ours
from broker.gateways.forwarded import client
from broker.gateways.greeting import BadViewer, Greeting
from broker.gateways.heads import BadHead
from broker.gateways.rfb_filter import CUT_TEXT, HEAD, LENGTHS, MOST_ENCODINGS, PICTURES, QEMU, Filter, Passing
from broker.gateways.x224 import CREDSSP, CREDSSP_EARLY, TLS, BadPacket
from broker.identity.service import digest

PUBLIC = "https://desks.example.org"
TICKET = re.compile(r"[A-Za-z0-9_-]{16,128}")


def filtered_viewer(data: bytes) -> None:
    """However it is cut, the same goes on, and of that nothing that may not; little of it is kept."""
    if len(data) < 2:
        return
    may, cut, stream = Passing(*(bool(data[0] & 1 << bit) for bit in range(4))), data[1] % 32 + 1, data[2:]
    whole, pieces = _passed(may, [stream]), _passed(may, (stream[at : at + cut] for at in range(0, len(stream), cut)))
    assert whole == pieces
    with suppress(BadViewer):
        greeting = Greeting(b"a desktop")
        for at in range(0, len(stream), cut):
            greeting.hear(stream[at : at + cut])
        assert stream.endswith(greeting.rest)


def _passed(may: Passing, pieces: Iterable[bytes]) -> bytes | None:
    """What goes on of these; None where the viewer was sent away."""
    filter_, passed = Filter(may), b""
    try:
        for piece in pieces:
            passed += filter_.hear(piece)
            assert len(filter_._heard) <= 4 + 4 * MOST_ENCODINGS
    except BadViewer:
        return None
    _only_what_may(may, passed)
    return passed


def _only_what_may(may: Passing, passed: bytes) -> None:
    while passed and (length := LENGTHS[passed[0]](passed[:HEAD])):
        kind, message, passed = passed[0], passed[:length], passed[length:]
        if kind == CUT_TEXT:
            assert may.clipboard_in or may.clipboard_out or message == may.wants
        elif kind == QEMU and message[1:2] == b"\1":
            assert may.audio
        else:
            assert may.control or kind in PICTURES
        if kind == rfb_filter.SET_ENCODINGS and not may.clipboard_out and len(message) == length:
            assert struct.pack(">I", rfb_filter.EXTENDED_CLIPBOARD) in message


def first_packet(data: bytes) -> None:
    """Read whole, and no earlier; what was refused stays refused; the ticket does not go on."""
    with suppress(BadPacket):
        assert x224.read_answer(data) in (None, TLS, CREDSSP, CREDSSP_EARLY)
    try:
        request = x224.read_request(data)
    except BadPacket:
        with suppress(BadPacket):
            x224.read_request(data + b"x")
            raise AssertionError("it was refused before") from None
        return
    if request is None:
        assert len(data) < x224.LARGEST
        return
    assert TICKET.fullmatch(request.ticket)
    assert all(x224.read_request(data[:size]) is None for size in range(len(data)))
    assert request.ticket.encode() not in x224.request(request)


@cache
def _settings() -> Any:
    return SimpleNamespace(web=SimpleNamespace(public_url=PUBLIC, cookie="beamdesk"))


def ticket_and_headers(data: bytes) -> None:
    """A ticket, a cookie and a token are found or not, never a fault; no other site's page is ours; and a head that is
    there was not there a byte before."""
    text = data.decode("latin-1")
    origin, host, cookie, bearer, forwarded, path = (text.split("\0") + [""] * 6)[:6]
    if is_ours(origin, host, _settings()) and origin != PUBLIC:
        assert urlsplit(origin).scheme == "https"
        assert urlsplit(origin).hostname == urlsplit(f"//{host}").hostname
    tokens = [_cookie({"Cookie": cookie}, _settings()), _bearer({"Authorization": bearer})]
    tokens += parse_qs(urlparse(f"/desktop?{path}")[4]).get("token", [])
    assert all(len(digest(token)) == len(digest("")) for token in tokens)
    assert len(client("192.0.2.1", forwarded.split("\n"), data[0] % 3 if data else 0)) <= 64
    with suppress(BadHead):
        end = re.search(rb"\n\r?\n", data)
        assert heads.end(data) == (end and end.end())
        assert end is None or heads.end(data[: end.end() - 1]) is None


TARGETS: dict[str, Callable[[bytes], None]] = {
    "rfb_filter": filtered_viewer,
    "x224": first_packet,
    "door": ticket_and_headers,
}
