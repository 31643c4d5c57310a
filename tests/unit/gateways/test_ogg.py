"""Pages are found whole, however their bytes are cut; what is none is found at once."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateways.ogg import HEAD, NoPage, Pages


def page(segments: bytes, number: int = 0) -> bytes:
    """A page with segments of these sizes."""
    return struct.pack("<5sBqIIIB", b"OggS", 0, 0, 1, number, 0, len(segments)) + segments + bytes(sum(segments))


PAGES = st.lists(st.binary(max_size=255).map(page), max_size=5)


@given(PAGES, st.lists(st.integers(0, 400), max_size=30), st.binary(max_size=HEAD))
def test_pages_come_whole_and_in_order_whatever_the_cuts(pages: list[bytes], cuts: list[int], rest: bytes) -> None:
    half = page(rest)[: len(rest)]
    said, heard, found = b"".join(pages) + half, Pages(), []
    for size in [*cuts, len(said)]:
        found += heard.hear(said[:size])
        said = said[size:]
    assert found == pages


@pytest.mark.parametrize("said", [b"RFB 003.008\n", b"\0", b"OggX", b"OggS\1", page(b"\1") + b"!"])
def test_what_is_no_ogg_is_found_at_its_first_bytes(said: bytes) -> None:
    with pytest.raises(NoPage):
        Pages().hear(said)


@given(st.binary(max_size=2000))
def test_whatever_is_said_no_more_than_a_page_is_held(said: bytes) -> None:
    pages = Pages()
    try:
        for begin in range(0, len(said), 100):
            pages.hear(b"OggS\0" * (begin == 0) + said[begin : begin + 100])
    except NoPage:
        return
    assert len(pages._heard) <= HEAD + 255 + 255 * 255
