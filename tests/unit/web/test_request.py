"""Requests are cut out of what a client sends."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from broker.gateways.heads import BadHead
from web.server.request import BODY, cut

bodies = st.binary(max_size=30)
pieces = st.lists(st.integers(1, 40), max_size=30)


def _post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@given(st.lists(bodies.map(_post), max_size=5), pieces)
def test_any_pieces_give_the_same_requests(requests: list[bytes], sizes: list[int]) -> None:
    """What is behind one is the next one's, also where it is a part of it."""
    left, heard, found = b"".join(requests), b"", []
    for size in [*sizes, len(left) + 1]:
        heard, left = heard + left[:size], left[size:]
        while heard and (request := cut(heard)):
            found.append(request.here)
            heard = request.behind
    assert found == requests


@given(st.binary(max_size=200))
@example(b"GET / HTTP/1.1\ncontent-length: " + b"9" * 5000 + b"\n\n")
def test_whatever_comes_is_a_request_or_not_and_nothing_of_it_is_lost(heard: bytes) -> None:
    """Or it is refused; never a fault."""
    with suppress(BadHead):
        request = cut(heard)
        assert request is None or request.here + request.behind == heard


def test_only_a_body_as_large_as_a_files_is_not_awaited() -> None:
    """Its beginning comes with its head, and how much is missing is known."""
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    assert cut(head % BODY + b"some") is None
    request = cut(head % (BODY + 1) + b"some")
    assert request is not None
    assert (request.length, request.missing, request.behind) == (BODY + 1, BODY - 3, b"")
