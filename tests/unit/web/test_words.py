"""How values read in pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.sessions.availability import about
from web.words import capitalize_first, duration, plural


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0.0042, "4 ms"),
        (0.84, "0.8 s"),
        (42, "42 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (14 * 3600 + 60, "14 h"),
        (2 * 86400, "2 d"),
        (2 * 86400 + 5 * 3600, "2 d 5 h"),
    ],
)
def test_a_duration_reads_in_at_most_two_units(seconds: float | None, words: str) -> None:
    """Small ones exactly, large ones roughly."""
    assert duration(seconds) == words


@given(st.floats(min_value=0, max_value=10**8))
def test_every_duration_has_words(seconds: float) -> None:
    """No value makes nonsense."""
    assert duration(seconds)[0].isdigit()
    assert about(seconds).startswith("about ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "about 5 s"), (42, "about 40 s"), (58, "about 1 min"), (130, "about 2 min"), (7300, "about 2 h")],
)
def test_an_estimate_is_round(seconds: float, words: str) -> None:
    """It pretends to no more than is known."""
    assert about(seconds) == words


def test_nouns_and_sentences() -> None:
    """One core, four cores; names keep their letters."""
    assert (plural(1, "core"), plural(4, "core"), plural(0, "launch", "launches")) == (
        "1 core",
        "4 cores",
        "0 launches",
    )
    assert capitalize_first("ended by you in RAL") == "Ended by you in RAL"
