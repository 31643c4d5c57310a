"""How long a desktop is shared, and what its guest reads when it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest, OverQuota
from broker.sharing import rules

MOMENT = datetime(2026, 11, 21, 12, tzinfo=UTC)


@given(
    lasts=st.timedeltas(min_value=timedelta(seconds=1), max_value=rules.LONGEST),
    lease=st.none() | st.timedeltas(min_value=timedelta(), max_value=timedelta(days=30)),
)
def test_a_share_ends_in_its_time_and_never_after_the_lease(lasts: timedelta, lease: timedelta | None) -> None:
    """The nearer one of both."""
    lease_end = None if lease is None else MOMENT + lease
    end = rules.end_of(lasts, MOMENT, lease_end)
    assert end in (MOMENT + lasts, lease_end)
    assert end <= MOMENT + lasts
    assert lease_end is None or end <= lease_end


@pytest.mark.parametrize("lasts", [timedelta(), timedelta(seconds=-1), rules.LONGEST + timedelta(seconds=1)])
def test_no_time_and_too_long_a_time_are_refused(lasts: timedelta) -> None:
    """With the longest one in the hint."""
    with pytest.raises(InvalidRequest) as refusal:
        rules.end_of(lasts, MOMENT, None)
    assert "7 days" in refusal.value.hint


def test_there_is_room_for_so_many() -> None:
    """And for no more."""
    rules.must_have_room(rules.MOST - 1)
    with pytest.raises(OverQuota):
        rules.must_have_room(rules.MOST)


@pytest.mark.parametrize(
    ("withdrawn", "by_guest", "session_ready", "words"),
    [
        (False, False, False, "Ada has ended the desktop, or its time is over."),
        (True, False, True, "Ada shares it with you no longer."),
        (True, True, True, "You have left it."),
        (False, False, True, "Ada shared it for a time, which is over."),
    ],
)
def test_a_guest_reads_why_it_is_over(withdrawn: bool, by_guest: bool, session_ready: bool, words: str) -> None:
    """In the owner's name."""
    found = rules.why_over(withdrawn=withdrawn, by_guest=by_guest, session_ready=session_ready, owner="Ada")
    assert found == words
