"""Courses, and the seats in them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from web.api.schemas import Given, Taken, Text
from web.api.schemas.reservations import BookedOut, BookingBody

When = Literal["planned", "open", "over"]


class CourseBody(BookingBody):
    """A course to be. Its maker teaches it, too, but for an administrator who names `teachers`.

    Without a `notice` it has the usual one.
    """

    teachers: list[Text] = Field(default_factory=list, max_length=50)
    notice: Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")] = ""
    end_sessions: bool = True


class CourseOut(BookedOut):
    """A course as its teachers see it: `ready` seats are warm or taken, `arrived` people came, `accepted` take part.

    `teachers` are names of accounts.
    """

    notice: str
    teachers: list[str]
    when: When
    arrived: int
    accepted: int
    end_sessions: bool
    link_open: bool


class CourseMadeOut(Given):
    """A course, and its invite link, which is told this once."""

    course: CourseOut
    link: str | None


class LinkOut(Given):
    """An invite link, which is told this once."""

    link: str


class TeacherBody(Taken):
    """The account of somebody who is to teach, too."""

    name: Text


class CourseSeatOut(Given):
    """One person in a course; `visible` says whether there is a picture of their desktop now."""

    user_id: int
    user: str
    full_name: str
    arrived_at: datetime
    accepted: bool
    pictures: bool
    session: int | None
    state: Literal["requested", "queued", "preparing", "ready"] | None
    visible: bool


class JoinBody(Taken):
    """The secret at the end of an invite link; and whether the teachers may see pictures of one's desktop."""

    token: Text
    pictures: bool


class PicturesBody(Taken):
    """Whether the teachers may see pictures of one's desktop."""

    pictures: bool


class MySeatOut(Given):
    """One's own seat in a course, and the session on it."""

    course: int
    title: str
    notice: str
    teachers: list[str]
    starts_at: datetime
    ends_at: datetime
    when: When
    pictures: bool
    end_sessions: bool
    session: int | None
