"""What stands for the password in a file: it tells nothing, and becomes the password on its way, however it is cut."""

from __future__ import annotations

import itertools
import os
import struct

from hypothesis import given
from hypothesis import strategies as st

from broker.connections.stand_in import LOOKED_AT, Exchange, stand_in

PASSWORD, TICKET = "Kj3_fh-29dLq8sPzVb71xQwE", "t" * 32
WORD = stand_in(PASSWORD, TICKET)
IN_RDP, PASSWORD_IN_RDP = (text.encode("utf-16-le") for text in (WORD, PASSWORD))


def packet(body: bytes) -> bytes:
    """Behind a TPKT header."""
    return struct.pack(">BBH", 3, 0, 4 + len(body)) + body


PACKETS = st.binary(max_size=300).map(packet)
CUTS, Cuts = st.lists(st.integers(0, 3000), max_size=8), list[int]


def passed_on(exchange: Exchange, data: bytes, cuts: Cuts) -> bytes:
    """What the machine hears of the data, cut at these places."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return b"".join(exchange.pass_on(data[a:b]) for a, b in itertools.pairwise(places))


def test_it_is_as_long_as_the_password_and_another_for_each_ticket_and_password() -> None:
    """So no length in the protocol changes, and no file tells of another one's."""
    words = {stand_in(*pair) for pair in ((PASSWORD, TICKET), (PASSWORD, "u" * 32), (PASSWORD[::-1], TICKET))}
    assert len(words) == 3
    assert all(len(word) == len(PASSWORD) and word.isascii() and PASSWORD not in word for word in words)


@given(st.lists(PACKETS), st.binary(max_size=300), st.binary(max_size=300), CUTS)
def test_it_becomes_the_password_wherever_it_is_cut(before: list[bytes], near: bytes, after: bytes, cuts: Cuts) -> None:
    """And all else passes as it is: other packets, what stands beside it, and the same word once more."""
    data = b"".join(before) + packet(near + IN_RDP + near) + after + IN_RDP
    expected = b"".join(before) + packet(near + PASSWORD_IN_RDP + near) + after + IN_RDP
    exchange = Exchange(PASSWORD, TICKET)
    assert passed_on(exchange, data, cuts) == expected
    assert exchange.done


@given(st.lists(PACKETS), CUTS)
def test_a_packet_that_is_whole_goes_on_at_once(packets: list[bytes], cuts: Cuts) -> None:
    """Its answer is waited for."""
    exchange, data = Exchange(PASSWORD, TICKET), b"".join(packets)
    assert passed_on(exchange, data, cuts) == data


@given(st.binary(max_size=600), CUTS)
def test_what_is_no_packet_passes_as_it_is_but_for_one_that_has_no_end(data: bytes, cuts: Cuts) -> None:
    """No garbage breaks it."""
    exchange = Exchange(PASSWORD, TICKET)
    assert data.startswith(passed_on(exchange, data, cuts))
    for strange in (b"GET / HTTP/1.1", b"\3\0\0\3abc", b"\x80\x05abc"):
        assert Exchange(PASSWORD, TICKET).pass_on(strange) == strange


def test_it_is_not_looked_for_for_ever() -> None:
    """Who has not said it by then has said something else."""
    exchange, data = Exchange(PASSWORD, TICKET), packet(os.urandom(1000)) * (LOOKED_AT // 1000 + 1)
    assert passed_on(exchange, data + packet(IN_RDP), []) == data + packet(IN_RDP)
    assert exchange.done
