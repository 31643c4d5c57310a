"""Who may see whose desktop, and when a course takes place: pure decisions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class When(StrEnum):
    """Where a course is in its time."""

    PLANNED = "planned"
    OPEN = "open"  # people take their seats: from when they are warm
    OVER = "over"


def when(starts_at: datetime, ends_at: datetime, margin: timedelta, moment: datetime, *, over: bool) -> When:
    """Where the course is; one that was ended or cancelled is `over` whatever the time."""
    if over or moment >= ends_at:
        return When.OVER
    return When.OPEN if moment >= starts_at - margin else When.PLANNED


@dataclass(frozen=True)
class Look:
    """Somebody wants to see a picture of a desktop in a course; what matters for that."""

    teacher: bool  # who asks is one of the course's teachers
    when: When
    accepted: bool  # the person on the seat took part in the course
    pictures: bool  # and consented to pictures
    ready: bool  # the desktop is there
    of_course: bool  # and was launched in the course


def refused(look: Look) -> str | None:
    """Why there is no picture, or None where there may be one."""
    reasons = (
        (not look.teacher, "only a teacher of the course may see it"),
        (look.when is not When.OPEN, "the course does not run now"),
        (not look.accepted, "this person does not take part"),
        (not look.pictures, "this person does not share pictures"),
        (not (look.ready and look.of_course), "there is no desktop to see"),
    )
    return next((reason for holds, reason in reasons if holds), None)


def may_teach(*, is_admin: bool, groups: Collection[str], teacher_groups: Collection[str]) -> bool:
    """Whether somebody may make courses."""
    return is_admin or not set(groups).isdisjoint(teacher_groups)
