"""How values read in pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from broker.sessions.availability import about
from web.words import capitalize_first, duration, local_times, plural, told


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


NEW_YEAR = datetime(2031, 1, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("idle for 2 h; its last activity was input at 01:30 UTC", "2031-01-01T01:30"),
        ("its last activity was input at 23:30 UTC on 31 December", "2030-12-31T23:30"),
        ("is kept for a reservation until 16:00 UTC on 3 January", "2031-01-03T16:00"),
    ],
)
def test_times_in_sentences_are_marked_for_the_readers_clock(words: str, moment: str) -> None:
    """The page's script words them in the reader's zone; without it they stay as they are, with theirs."""
    shown = local_times(words, NEW_YEAR)
    assert f'<time datetime="{moment}:00+00:00" data-clock="{moment}:00+00:00">' in shown
    assert shown.striptags() == words


@given(st.text() | st.from_regex(r"[0-9]{2}:[0-9]{2} UTC on [0-9]{1,2} (February|Mai|June)<b>"))
def test_no_words_are_lost_or_become_marks_of_the_page(words: str) -> None:
    """Whatever a cloud's error says, and on whatever day that is none."""
    shown = local_times(words, NEW_YEAR)
    assert "<b>" not in shown
    assert Markup(re.sub("</?time[^>]*>", "", str(shown))).unescape() == words  # noqa: S704


def test_what_is_told_of_an_action_begins_with_its_reason() -> None:
    """Words as they are, the rest as JSON."""
    assert told({"before": "vacant", "reason": "the desktop is painted", "wish": {"cores": 2}, "hours": None}) == [
        ("reason", "the desktop is painted"),
        ("before", "vacant"),
        ("wish", '{"cores": 2}'),
        ("hours", "null"),
    ]
    assert told({}) == []
