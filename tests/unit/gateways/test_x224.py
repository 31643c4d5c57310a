"""The first packet of an RDP connection: read or refused, whatever comes and however it is cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.gateways import x224
from broker.gateways.x224 import BadPacket, Request

TICKET = "9Wl0XhQ2Gd3sYp-_7aVbNcMzKjHgFdSa"
COOKIE = f"Cookie: msts={TICKET}\r\n".encode()
CORRELATION = b"\x06\x00\x24\x00" + b"\r\n" * 16  # line breaks, as random bytes may have


def wish(protocols: int = 3, flags: int = 0) -> bytes:
    return struct.pack("<BBHI", 1, flags, 8, protocols)


def packet(body: bytes, kind: int = 0xE0) -> bytes:
    """An X.224 packet with this body, of whatever size."""
    size = 11 + len(body)
    return struct.pack(">BBHBB5x", 3, 0, size & 0xFFFF, (size - 5) & 0xFF, kind) + body


def refused(data: bytes) -> BadPacket:
    with pytest.raises(BadPacket) as refusal:
        x224.read_request(data)
    assert str(refusal.value)
    return refusal.value


# As xfreerdp 2.11 sent it with our file (TLS alone, because the file says that it does not do CredSSP).
REAL = packet(COOKIE + wish(1))


def test_a_real_clients_request_is_read() -> None:
    assert x224.read_request(REAL) == Request(TICKET, 1, 0)


def test_windows_own_additions_are_read_over() -> None:
    """mstsc offers CredSSP too, and sends an id for the server's log; some pad the routing token to an even length."""
    data = packet(COOKIE.replace(b"\r\n", b" \r\n") + wish(0xB, 8) + CORRELATION)
    assert x224.read_request(data) == Request(TICKET, 0xB, 8)


@given(st.integers(0, len(REAL) - 1))
def test_a_request_that_is_not_all_there_is_waited_for(size: int) -> None:
    assert x224.read_request(REAL[:size]) is None


@given(st.binary(min_size=1))
def test_nothing_may_follow_before_the_answer(more: bytes) -> None:
    refused(REAL + more)


@given(st.binary(max_size=400))
@example(b"\x03\x00\x00\x00")
@example(packet(b""))
@example(packet(b"\r\n"))
@example(packet(COOKIE))
@example(packet(COOKIE[:-2]))
def test_garbage_is_refused_or_waited_for_and_breaks_nothing(data: bytes) -> None:
    """And no more than the largest packet is ever waited for."""
    try:
        found = x224.read_request(data)
    except BadPacket:
        return
    assert found is not None or len(data) < x224.LARGEST


@given(st.binary(max_size=250).map(packet))
def test_garbage_in_a_good_packet_is_refused_or_is_a_request(data: bytes) -> None:
    try:
        found = x224.read_request(data)
    except BadPacket:
        return
    assert found is not None
    assert len(found.ticket) >= 16
    assert found.protocols


@given(st.integers(0, len(REAL) - 1), st.integers(0, 255))
def test_one_wrong_byte_never_makes_another_wish(place: int, value: int) -> None:
    """It is refused, or waited for (where it is the size), or is a request as it says; never an error of ours."""
    data = bytearray(REAL)
    data[place] = value
    try:
        found = x224.read_request(bytes(data))
    except BadPacket:
        return
    assert found is None or found.ticket.encode() in data


@given(
    st.text("ABCxyz019-_", min_size=16, max_size=128),
    st.sampled_from([1, 2, 3, 8, 9, 10, 11]),
    st.sampled_from([0, 1, 2, 3]),
)
def test_what_was_written_is_read(ticket: str, protocols: int, flags: int) -> None:
    data = packet(f"Cookie: msts={ticket}\r\n".encode() + wish(protocols, flags))
    assert x224.read_request(data) == Request(ticket, protocols, flags)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "does not speak RDP"),
        (b"\x16\x03\x01\x02\x00\x01", "does not speak RDP"),
        (b"\x03\x00\xff\xff", "wrong size"),
        (b"\x03\x00\x00\x05", "wrong size"),
        (packet(b"Cookie: msts=" + b"x" * 300), "wrong size"),
        (packet(COOKIE + wish(), 0xD0), "none that begins a connection"),
        (REAL[:4] + b"\xff" + REAL[5:], "none that begins a connection"),
        (packet(b"Cookie: msts=" + b"x" * 32), "no end"),
        (packet(COOKIE + b"\x01\x00\x08\x00"), "cut short"),
        (packet(COOKIE + wish() + b"x"), "cannot be read"),
        (packet(COOKIE + b"\x02" + wish()[1:]), "cannot be read"),
    ],
)
def test_what_is_no_request_is_closed_with_a_reason_for_the_log(data: bytes, why: str) -> None:
    """Who does not speak the protocol gets no answer in it."""
    bad = refused(data)
    assert why in str(bad)
    assert bad.answer == b""


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"Cookie: mstshash=alice\r\n",
        b"tsv://MS Terminal Services Plugin.1.Farm\r\n",
        b"Cookie: msts=3640205228.15629.0000\r\n",
        b"Cookie: msts=short\r\n",
        b"Cookie: msts=" + b"x" * 129 + b"\r\n",
        b"Cookie: msts=" + TICKET.encode() + b"/../etc\r\n",
        b"Cookie: msts=" + TICKET.encode() + b"\n\r\n",
        b"X" + COOKIE,
    ],
)
def test_who_brings_no_ticket_hears_that_there_will_be_no_connection(token: bytes) -> None:
    bad = refused(packet(token + wish()))
    assert str(bad) == "it brings no ticket"
    assert bad.answer == x224.refusal(x224.INCONSISTENT)


@pytest.mark.parametrize("end", [b"", wish(0), wish(4)])
def test_who_does_not_know_tls_hears_so_with_a_ticket_that_stays_good(end: bytes) -> None:
    """RDP's own encryption is none: some clients try it first, and come again with TLS when they are told."""
    bad = refused(packet(COOKIE + end))
    assert bad.answer == x224.refusal(x224.TLS_REQUIRED)


def test_a_refusal_is_as_the_protocol_has_it() -> None:
    """[MS-RDPBCGR] 2.2.1.2.2."""
    assert x224.refusal(4).hex() == "03000013" + "0ed00000000000" + "03000800" + "04000000"


def test_the_machine_gets_the_wish_and_not_the_ticket() -> None:
    """The very protocols that the client sent: it compares them with what the machine says later that it heard."""
    sent = x224.request(Request(TICKET, 0xB, 9))
    assert sent.hex() == "03000013" + "0ee00000000000" + "01010800" + "0b000000"
    assert TICKET.encode() not in sent


CHOICE = packet(struct.pack("<BBHI", 2, 0x1F, 8, 1), 0xD0)


def test_the_machines_choice_is_read_once_it_is_all_there() -> None:
    assert [x224.read_answer(CHOICE[:size]) for size in range(len(CHOICE))] == [None] * len(CHOICE)
    assert x224.read_answer(CHOICE) == x224.TLS


@pytest.mark.parametrize(
    "answer",
    [
        packet(b"", 0xD0),
        packet(struct.pack("<BBHI", 2, 0, 8, 0), 0xD0),
        x224.refusal(2),
        packet(wish(), 0xD0),
        REAL,
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_a_machine_that_would_not_encrypt_is_not_joined(answer: bytes) -> None:
    with pytest.raises(BadPacket):
        x224.read_answer(answer)


@given(st.binary(max_size=300))
def test_a_machines_garbage_breaks_nothing(data: bytes) -> None:
    try:
        found = x224.read_answer(data)
    except BadPacket:
        return
    assert found in (None, 1, 2, 8)
