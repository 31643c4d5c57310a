"""What teachers do with courses, and what people do who are invited. One audited transaction each."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import events
from broker.courses import rules
from broker.courses.models import Course, Seat
from broker.courses.rules import When
from broker.database import now
from broker.errors import Forbidden, NoSeat, NotFound, WrongState
from broker.identity.models import User
from broker.identity.rights import Role
from broker.identity.service import Person, digest
from broker.pools.allocation import Wish
from broker.pools.models import Reservation
from broker.runtime import Runtime
from broker.sessions import reservations
from broker.sessions import service as sessions
from broker.sessions.models import ACTIVE, UserSession
from broker.sessions.reservations import Change
from broker.settings import Settings

NOTICE = (
    "In this course your teacher sees a small picture of your desktop, renewed every few seconds, so that help comes "
    "before you ask. Nobody else sees it, nothing is recorded, and it ends with the course."
)


@dataclass(frozen=True)
class Lesson:
    """What a course is to be. Its maker teaches it, too, but for an administrator who names others; without a notice it
    has the usual one."""

    title: str
    environment: str
    seats: int
    starts_at: datetime
    ends_at: datetime
    teachers: tuple[str, ...] = ()
    notice: str = ""
    end_sessions: bool = True


@dataclass(frozen=True)
class Running:
    """A course with its reservation, and where it is in its time."""

    course: Course
    reservation: Reservation
    when: When


def may_teach(settings: Settings, person: Person) -> bool:
    """Whether this person may make courses."""
    groups = settings.courses.teacher_groups
    return rules.may_teach(is_admin=person.is_admin, groups=person.groups, teacher_groups=groups)


def make(runtime: Runtime, person: Person, lesson: Lesson) -> tuple[Course, str | None]:
    """The course and its link's secret, which is told once; the same lesson again is the same course, without it."""
    settings = runtime.settings
    if not may_teach(settings, person):
        raise Forbidden("You may not make courses.", hint="Ask an administrator to, or to add you to the teachers.")
    sessions.offered(settings, person, lesson.environment)
    wish = Wish(lesson.environment)
    plan = reservations.Plan(
        lesson.title, "", lesson.seats, lesson.starts_at, lesson.ends_at, wish, ends_sessions=lesson.end_sessions
    )
    with runtime.database.transaction() as db:
        own = () if lesson.teachers and person.is_admin else (person.name,)
        teachers = _known(db, (*lesson.teachers, *own))
        booked = reservations.book(db, settings, person, plan)
        same = db.scalar(select(Course).where(Course.reservation_id == booked.id))
        if same is not None:
            return same, None
        token = secrets.token_urlsafe(24)
        course = Course(
            reservation_id=booked.id,
            title=lesson.title,
            notice=lesson.notice.strip() or NOTICE,
            teachers=teachers,
            token_hash=digest(token),
            made_by=person.name,
        )
        db.add(course)
        db.flush()
        _note(db, "make", course, person.name, teachers=teachers, seats=lesson.seats)
        return course, token


def _known(db: Session, names: Iterable[str]) -> list[str]:
    """The names, sorted; NotFound for one that is no person's account."""
    wanted = sorted(set(names))
    people = select(User.name).where(User.name.in_(wanted), User.role != Role.SERVICE)
    unknown = set(wanted) - set(db.scalars(people))
    if unknown:
        raise NotFound(f"There is no account {min(unknown)[:40]!r}.", hint="A teacher needs an account here.")
    return wanted


def change(runtime: Runtime, person: Person, course_id: int, wanted: Change) -> Course:
    """Give a course other seats or another time; people who accepted keep theirs."""
    with runtime.database.transaction() as db:
        found = taught(db, runtime.settings, person, course_id, or_admin=True, alone=True)
        sitting = _sitting(db, course_id)
        if wanted.seats is not None and wanted.seats < sitting:
            raise WrongState(
                f"{sitting} people take part in {found.course.title} already.", hint="Give no fewer seats."
            )
        if reservations.rebook(db, runtime.settings, found.reservation, wanted, person.name):
            _note(db, "change", found.course, person.name)
        return found.course


def add_teacher(runtime: Runtime, person: Person, course_id: int, name: str) -> Course:
    """Let the account of that name teach the course, too; twice is once."""
    with runtime.database.transaction() as db:
        course = _going_on(db, runtime.settings, person, course_id, or_admin=True).course
        if name not in course.teachers:
            course.teachers = sorted([*course.teachers, *_known(db, [name])])
            _note(db, "teacher-added", course, person.name, teacher=name)
        return course


def remove_teacher(runtime: Runtime, person: Person, course_id: int, name: str) -> Course:
    """Let that account teach the course no longer, nor see it; one teacher stays at least. Twice is once."""
    with runtime.database.transaction() as db:
        course = _going_on(db, runtime.settings, person, course_id, or_admin=True).course
        if course.teachers == [name]:
            raise WrongState(f"{name} is the only teacher of {course.title}.", hint="Add another one first.")
        if name in course.teachers:
            _note(db, "teacher-removed", course, person.name, teacher=name)  # before: their own pages hear of it, too
            course.teachers = [teacher for teacher in course.teachers if teacher != name]
        return course


def renew_link(runtime: Runtime, person: Person, course_id: int) -> str:
    """A new invite link's secret, told once; the one before opens nothing any more. Who has a seat keeps it."""
    with runtime.database.transaction() as db:
        found = _going_on(db, runtime.settings, person, course_id)
        token = secrets.token_urlsafe(24)
        found.course.token_hash = digest(token)
        _note(db, "link", found.course, person.name)
        return token


def close_link(runtime: Runtime, person: Person, course_id: int) -> Course:
    """Let nobody more in; twice is once."""
    with runtime.database.transaction() as db:
        found = taught(db, runtime.settings, person, course_id, alone=True)
        if found.course.token_hash is not None:
            found.course.token_hash = None
            _note(db, "link-closed", found.course, person.name)
        return found.course


def end(runtime: Runtime, person: Person, course_id: int) -> Course:
    """End or cancel a course now: its seats and people go, and its sessions where it ends those. Twice is once."""
    with runtime.database.transaction() as db:
        found = taught(db, runtime.settings, person, course_id, or_admin=True, alone=True)
        clear_away(db, found.course, person.name)
        return found.course


def clear_away(db: Session, course: Course, actor: str = events.SYSTEM) -> None:
    """Leave nothing of a course but its row and the audit log."""
    db.refresh(course, with_for_update=True)  # before the reservation's lock, as everywhere
    booked = db.get_one(Reservation, course.reservation_id)
    reservations.release(db, booked, actor)
    if course.over_at is not None:
        return
    mine = (UserSession.reservation_id == booked.id, UserSession.state.in_(ACTIVE))
    on_seats = select(UserSession).where(*mine).order_by(UserSession.id).with_for_update()
    going = list(db.scalars(on_seats)) if booked.ends_sessions else []
    for session in going:
        sessions.close(db, session, reason="its course is over", actor=actor)
    sat = _sitting(db, course.id)
    for seat in db.scalars(select(Seat).where(Seat.course_id == course.id)):
        db.delete(seat)
    course.over_at, course.token_hash = now(), None
    _note(db, "over", course, actor, sat=sat, sessions=len(going))


def running(settings: Settings, course: Course, booked: Reservation) -> Running:
    """The course with its reservation, as it stands now."""
    margin = timedelta(minutes=settings.reservations.margin_minutes)
    over = course.over_at is not None or booked.cancelled_at is not None
    return Running(course, booked, rules.when(booked.starts_at, booked.ends_at, margin, now(), over=over))


def _running(db: Session, settings: Settings, course: Course) -> Running:
    return running(settings, course, db.get_one(Reservation, course.reservation_id))


def taught(
    db: Session, settings: Settings, person: Person, course_id: int, *, or_admin: bool = False, alone: bool = False
) -> Running:
    """The course, if this person teaches it; else NotFound, as if there were none.

    Where `alone`, nobody else changes it, or takes a seat in it, until the transaction of `db` ends.
    """
    course = db.get(Course, course_id, with_for_update=alone or None)
    if course is None or not (person.name in course.teachers or (or_admin and person.is_admin)):
        raise NotFound(f"There is no course {course_id} of yours.", hint="Look at your list of courses.")
    return _running(db, settings, course)


def _going_on(db: Session, settings: Settings, person: Person, course_id: int, *, or_admin: bool = False) -> Running:
    """The course, alone, if this person teaches it and it is not over."""
    found = taught(db, settings, person, course_id, or_admin=or_admin, alone=True)
    _must_not_be_over(found)
    return found


def invited(db: Session, settings: Settings, token: str) -> Running:
    """The course of an invite link's secret; nobody else takes a seat in it until the transaction of `db` ends."""
    course = db.scalar(select(Course).where(Course.token_hash == digest(token)).with_for_update())
    if course is None:
        raise NotFound("This invitation is not good any more.", hint="Ask your teacher for a new link.")
    return _running(db, settings, course)


def arrive(runtime: Runtime, person: Person, token: str) -> Running:
    """Somebody who is signed in opened the link: the teacher sees that they are there. Twice is once."""
    with runtime.database.transaction() as db:
        found = invited(db, runtime.settings, token)
        if found.when is not When.OVER and db.get(Seat, (found.course.id, person.user_id)) is None:
            db.add(Seat(course_id=found.course.id, user_id=person.user_id, pictures=False))
            _note(db, "arrive", found.course, person.name)
        return found


def accept(runtime: Runtime, person: Person, token: str, *, pictures: bool) -> Course:
    """Take part, having read the notice: one seat, once, while there are any. `pictures` is what was consented to."""
    with runtime.database.transaction() as db:
        found = invited(db, runtime.settings, token)
        _must_not_be_over(found)
        seat = db.get(Seat, (found.course.id, person.user_id))
        if seat is None:
            seat = Seat(course_id=found.course.id, user_id=person.user_id)
            db.add(seat)
        if seat.accepted_at is None:
            if _sitting(db, found.course.id) >= found.reservation.seats:
                raise NoSeat(f"All {found.reservation.seats} seats of {found.course.title} are taken.", hint=_FULL)
            seat.accepted_at, seat.pictures = now(), pictures
            _note(db, "accept", found.course, person.name, pictures=pictures)
        return found.course


_FULL = "Ask your teacher, who can make more."


def sitting(db: Session, settings: Settings, person: Person, course_id: int) -> tuple[Running, Seat]:
    """The course and this person's seat in it; else NotFound: a seat goes with its course."""
    seat = db.get(Seat, (course_id, person.user_id))
    if seat is None or seat.accepted_at is None:
        raise NotFound(
            "This course is over, or you have no seat in it.",
            hint="Files in your home stay. To another course your teacher's link leads.",
        )
    return _running(db, settings, db.get_one(Course, course_id)), seat


def share_pictures(runtime: Runtime, person: Person, course_id: int, *, pictures: bool) -> Course:
    """Let the teacher see pictures of the desktop, or no longer; from this very moment."""
    with runtime.database.transaction() as db:
        found, seat = sitting(db, runtime.settings, person, course_id)
        if seat.pictures != pictures:
            seat.pictures = pictures
            _note(db, "pictures", found.course, person.name, pictures=pictures)
        return found.course


def sit_down(runtime: Runtime, person: Person, course_id: int) -> UserSession:
    """This person's session in the course, launched where there is none yet; twice is once."""
    with runtime.database.reading() as db:
        found, _ = sitting(db, runtime.settings, person, course_id)
    if found.when is When.PLANNED:
        margin = timedelta(minutes=runtime.settings.reservations.margin_minutes)
        opens = found.reservation.starts_at - margin
        raise NoSeat(f"{found.course.title} opens at {opens:%H:%M} UTC on {opens:%d %B}.", hint="Come back then.")
    _must_not_be_over(found)
    return sessions.request(runtime, person, Wish(found.reservation.environment), guest_of=found.reservation)


def _must_not_be_over(found: Running) -> None:
    if found.when is When.OVER:
        raise WrongState(f"{found.course.title} is over.", hint="Files in your home stay.")


def _sitting(db: Session, course_id: int) -> int:
    mine = (Seat.course_id == course_id, Seat.accepted_at.is_not(None))
    return db.scalar(select(func.count()).select_from(Seat).where(*mine)) or 0


def _note(db: Session, action: str, course: Course, actor: str, **detail: Any) -> None:
    """Write it down, and let the teachers' and administrators' pages know."""
    events.record(db, f"course:{action}", course.id, actor=actor, title=course.title, **detail)
    for teacher in db.scalars(select(User.id).where(User.name.in_(course.teachers))):
        events.changed(db, "course", course.id, teacher)
