"""Who may see whose desktop: for every combination."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.courses.rules import Look, When, may_teach, refused, when

unhurried = settings(max_examples=80, deadline=None)
START = datetime(2030, 1, 1, 9, tzinfo=UTC)


@unhurried
@given(st.builds(Look))
def test_a_picture_is_seen_only_where_everything_allows_it(look: Look) -> None:
    """By a teacher, while the course runs, of somebody who takes part and consented, on a desktop of the course."""
    allowed = look.teacher and look.accepted and look.pictures and look.ready and look.of_course
    assert (refused(look) is None) == (allowed and look.when is When.OPEN)


@unhurried
@given(st.integers(-100, 400), st.integers(0, 60), st.booleans())
def test_a_course_is_open_from_its_margin_to_its_end(minutes: int, margin: int, over: bool) -> None:
    """Unless it was ended before."""
    moment, end = START + timedelta(minutes=minutes), START + timedelta(hours=3)
    found = when(START, end, timedelta(minutes=margin), moment, over=over)
    assert (found is When.OPEN) == (not over and -margin <= minutes < 180)
    assert (found is When.OVER) == (over or minutes >= 180)


def test_administrators_and_the_groups_of_the_settings_may_teach() -> None:
    """And nobody else."""
    assert may_teach(is_admin=True, groups=(), teacher_groups=())
    assert may_teach(is_admin=False, groups=("staff",), teacher_groups=("staff", "tutors"))
    assert not may_teach(is_admin=False, groups=("few",), teacher_groups=("staff",))
    assert not may_teach(is_admin=False, groups=("few",), teacher_groups=())
