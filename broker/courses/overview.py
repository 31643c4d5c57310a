"""Courses as teachers and the people in them see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker.courses import service
from broker.courses.models import Course, Seat
from broker.courses.rules import When
from broker.courses.service import Running
from broker.identity.models import User
from broker.identity.service import Person
from broker.pools.models import Reservation
from broker.sessions import booked
from broker.sessions.booked import ReservationCard
from broker.sessions.models import ACTIVE, SessionState, UserSession
from broker.settings import Settings


@dataclass(frozen=True)
class SeatCard:
    """One person in a course: when they came and accepted, whether they share pictures, and how their desktop is."""

    user_id: int
    user: str
    full_name: str
    arrived_at: datetime
    accepted: bool
    pictures: bool
    session: int | None
    state: SessionState | None
    visible: bool


@dataclass(frozen=True)
class CourseCard:
    """One course. `ready` seats have a machine or a vacant one is kept; `link_open` says whether one may still join.

    `teachers` are names of accounts.
    """

    id: int
    title: str
    environment: str
    environment_title: str
    notice: str
    teachers: list[str]
    seats: int
    starts_at: datetime
    ends_at: datetime
    when: When
    ready: int
    arrived: int
    accepted: int
    end_sessions: bool
    link_open: bool
    made_by: str


@dataclass(frozen=True)
class MySeat:
    """One's own seat in a course. `teachers` are full names."""

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


def cards(db: Session, settings: Settings, person: Person) -> list[CourseCard]:
    """The courses that this person teaches, all for an administrator, that are not over; the next one first."""
    query = select(Course).join(Reservation, Reservation.id == Course.reservation_id).where(Course.over_at.is_(None))
    found = db.scalars(query.order_by(Reservation.starts_at, Course.id))
    return _cards(db, settings, [one for one in found if person.is_admin or person.name in one.teachers])


def card(db: Session, settings: Settings, course: Course) -> CourseCard:
    """One course as its teachers see it."""
    return _cards(db, settings, [course])[0]


def _cards(db: Session, settings: Settings, courses: Sequence[Course]) -> list[CourseCard]:
    """Made from a few queries, however many there are."""
    rows = db.scalars(select(Reservation).where(Reservation.id.in_([one.reservation_id for one in courses]))).all()
    reserved, kept = {row.id: row for row in rows}, booked.some(db, settings, rows)
    people = _people(db, [course.id for course in courses])
    found = [service.running(settings, course, reserved[course.reservation_id]) for course in courses]
    return [_card(one, kept[one.reservation.id], *people[one.course.id]) for one in found]


def _people(db: Session, courses: Sequence[int]) -> defaultdict[int, tuple[int, int]]:
    """How many came to each course, and how many of them take part."""
    counts = select(Seat.course_id, func.count(), func.count(Seat.accepted_at))
    rows = db.execute(counts.where(Seat.course_id.in_(courses)).group_by(Seat.course_id))
    return defaultdict(lambda: (0, 0), {course: (came, accepted) for course, came, accepted in rows})


def _card(found: Running, kept: ReservationCard, arrived: int, accepted: int) -> CourseCard:
    course = found.course
    return CourseCard(
        id=course.id,
        title=course.title,
        environment=kept.environment,
        environment_title=kept.environment_title,
        notice=course.notice,
        teachers=course.teachers,
        seats=kept.seats,
        starts_at=kept.starts_at,
        ends_at=kept.ends_at,
        when=found.when,
        ready=kept.ready,
        arrived=arrived,
        accepted=accepted,
        end_sessions=found.reservation.ends_sessions,
        link_open=course.token_hash is not None,
        made_by=course.made_by,
    )


def seats(db: Session, found: Running) -> list[SeatCard]:
    """Everybody who came, those who came first first."""
    rows = db.execute(
        select(Seat, User)
        .join(User, User.id == Seat.user_id)
        .where(Seat.course_id == found.course.id)
        .order_by(Seat.arrived_at, User.name)
    ).all()
    running = _sessions(db, found.reservation.id)
    return [_seat(seat, user, running.get(user.id), found.when) for seat, user in rows]


def _seat(seat: Seat, user: User, session: UserSession | None, when: When) -> SeatCard:
    ready = session is not None and session.state == SessionState.READY
    return SeatCard(
        user_id=user.id,
        user=user.name,
        full_name=user.full_name,
        arrived_at=seat.arrived_at,
        accepted=seat.accepted_at is not None,
        pictures=seat.pictures,
        session=session.id if session else None,
        state=SessionState(session.state) if session else None,
        visible=seat.accepted_at is not None and seat.pictures and ready and when is When.OPEN,
    )


def _sessions(db: Session, reservation_id: int) -> dict[int, UserSession]:
    """The sessions on the reservation's seats that are not over, by user."""
    mine = (UserSession.reservation_id == reservation_id, UserSession.state.in_(ACTIVE))
    return {session.user_id: session for session in db.scalars(select(UserSession).where(*mine))}


def mine(db: Session, settings: Settings, person: Person) -> list[MySeat]:
    """This person's seats in courses that are not over."""
    joined = select(Seat, Course, Reservation).join(Course, Course.id == Seat.course_id)
    joined = joined.join(Reservation, Reservation.id == Course.reservation_id)
    rows = db.execute(joined.where(Seat.user_id == person.user_id, Seat.accepted_at.is_not(None))).all()
    found = [(service.running(settings, course, reservation), seat) for seat, course, reservation in rows]
    return [my_seat(db, course, seat) for course, seat in found if course.when is not When.OVER]


def my_seat(db: Session, found: Running, seat: Seat) -> MySeat:
    """This seat as who sits there sees it."""
    session = _sessions(db, found.reservation.id).get(seat.user_id)
    return MySeat(
        course=found.course.id,
        title=found.course.title,
        notice=found.course.notice,
        teachers=list(teachers(db, found.course).values()),
        starts_at=found.reservation.starts_at,
        ends_at=found.reservation.ends_at,
        when=found.when,
        pictures=seat.pictures,
        end_sessions=found.reservation.ends_sessions,
        session=session.id if session else None,
    )


def is_full(db: Session, found: Running) -> bool:
    """Whether nobody more can take part."""
    return _people(db, [found.course.id])[found.course.id][1] >= found.reservation.seats


def teachers(db: Session, course: Course) -> dict[str, str]:
    """The teachers' full names, by account."""
    rows = db.execute(select(User.name, User.full_name).where(User.name.in_(course.teachers)).order_by(User.full_name))
    return dict(rows.all())


def teaches(db: Session, settings: Settings, person: Person) -> bool:
    """Whether this person has or may make courses."""
    if service.may_teach(settings, person):
        return True
    live = db.scalars(select(Course.teachers).where(Course.over_at.is_(None)))
    return any(person.name in teachers for teachers in live)
