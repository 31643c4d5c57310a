"""Courses: an invitation, one seat each, teachers who come and go, and nothing left afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from broker.courses import overview, service, upkeep
from broker.courses.models import Course, Seat
from broker.courses.pictures import Pictures
from broker.courses.rules import When
from broker.courses.service import Lesson
from broker.database import now
from broker.errors import BrokerError, Forbidden, LeaseTooLong, NoSeat, NotFound, WrongState
from broker.events import Event
from broker.identity.rights import Role
from broker.identity.service import Person, create_account
from broker.pools.models import Machine, MachineState, Reservation
from broker.runtime import Runtime
from broker.sessions import leases, reservations
from broker.sessions import service as sessions
from broker.sessions.models import SessionState, UserSession, move
from broker.sessions.reservations import Change, Plan
from broker.sessions.upkeep import SessionUpkeep
from tests.integration.sessions.test_storm import fill
from tests.statements import counting

HOUR = timedelta(hours=1)


def account(runtime: Runtime, name: str, role: Role = Role.USER, *groups: str) -> Person:
    return create_account(runtime, name, name.title(), "secret-password", role=role, groups=groups)


@pytest.fixture
def teacher(runtime: Runtime) -> Person:
    return account(runtime, "grace")


def course(runtime: Runtime, teacher: str = "grace", seats: int = 3, **more: object) -> tuple[Course, str]:
    """A course that begins now, and its link's secret."""
    begin = now()
    values = {"title": "Mantid", "environment": "light", "starts_at": begin, "ends_at": begin + HOUR, **more}
    ada = account(runtime, "ada", Role.ADMIN)
    made, token = service.make(runtime, ada, Lesson(seats=seats, teachers=(teacher,), **values))  # type: ignore[arg-type]
    assert token is not None
    return made, token


def ready(runtime: Runtime, session: UserSession) -> None:
    """As once its desktop is painted, on this very host."""
    with runtime.database.transaction() as db:
        fresh = db.get_one(UserSession, session.id)
        ends = leases.first_end(runtime.settings, fresh)
        move(db, fresh, SessionState.READY, reason="", ready_at=now(), expires_at=ends, password="password")
        db.get_one(Machine, fresh.machine_id).address = "127.0.0.1"


def test_nobody_gets_two_seats_and_nobody_one_too_many(each_runtime: Runtime) -> None:
    """Eight people accept at once, each twice, for three seats: three sit, and have one desktop each."""
    fill(each_runtime, 3)
    grace = account(each_runtime, "grace")
    made, token = course(each_runtime)
    people = [account(each_runtime, f"pupil{number}") for number in range(8)]

    def sit(person: Person) -> int | None:
        try:
            service.accept(each_runtime, person, token, pictures=True)
            return service.sit_down(each_runtime, person, made.id).id
        except NoSeat:
            return None

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(sit, people * 2))
    assert len({session for session in found if session}) == 3
    assert found[:8] == found[8:]
    with each_runtime.database.reading() as db:
        card = overview.card(db, each_runtime.settings, db.get_one(Course, made.id))
        assert (card.accepted, card.ready) == (3, 3)
        states = db.scalars(select(UserSession.state)).all()
        assert len(overview.seats(db, service.taught(db, each_runtime.settings, grace, made.id))) == 3
    assert states == [SessionState.PREPARING] * 3


def test_a_guest_may_use_what_is_not_open_to_them_in_the_course_only(runtime: Runtime) -> None:
    """The environment is for few; the invitation opens it, for the course's seat."""
    secret = runtime.settings.pools["light-ral"].model_copy(
        update={"name": "secret-ral", "environment": "secret", "groups": ("few",)}
    )
    runtime.settings = runtime.settings.model_copy(update={"pools": {**runtime.settings.pools, "secret-ral": secret}})
    account(runtime, "grace")
    made, token = course(runtime, environment="secret", seats=1)
    bob = account(runtime, "bob")
    with pytest.raises(NotFound):
        service.sit_down(runtime, bob, made.id)
    service.accept(runtime, bob, token, pictures=False)
    assert service.sit_down(runtime, bob, made.id).environment == "secret"
    with pytest.raises(BrokerError, match="no environment"):
        sessions.request(runtime, bob, sessions.Wish("secret"), another=True)


def test_a_guest_sits_in_the_course_whatever_else_is_reserved_for_them(runtime: Runtime) -> None:
    """Not on a seat of their group's, which would end sooner."""
    fill(runtime, 4)
    account(runtime, "grace")
    begin = now()
    beamtime = Plan("Beamtime", "crew", 1, begin, begin + HOUR / 2, sessions.Wish("light"))
    reservations.make(runtime, account(runtime, "ada", Role.ADMIN), beamtime)
    made, token = course(runtime, seats=1)
    bob = account(runtime, "bob", Role.USER, "crew")
    service.accept(runtime, bob, token, pictures=True)
    assert service.sit_down(runtime, bob, made.id).reservation_id == made.reservation_id


def test_a_link_is_a_secret_that_is_renewed_and_closed(runtime: Runtime, teacher: Person) -> None:
    """Only its hash is kept; the old one opens nothing; who sits keeps the seat."""
    made, token = course(runtime)
    bob, carol = account(runtime, "bob"), account(runtime, "carol")
    service.accept(runtime, bob, token, pictures=True)
    fresh = service.renew_link(runtime, teacher, made.id)
    with runtime.database.reading() as db:
        row = db.get_one(Course, made.id)
        assert token not in str(vars(row))
        assert fresh not in str(vars(row))
    with pytest.raises(NotFound):
        service.arrive(runtime, carol, token)
    assert service.arrive(runtime, carol, fresh).course.id == made.id
    for _ in range(2):
        service.close_link(runtime, teacher, made.id)
    with pytest.raises(NotFound):
        service.accept(runtime, carol, fresh, pictures=True)
    assert service.sit_down(runtime, bob, made.id).reservation_id == made.reservation_id
    for stranger in (bob, account(runtime, "ada", Role.ADMIN)):
        with pytest.raises(NotFound):
            service.renew_link(runtime, stranger, made.id)


def test_teachers_come_and_go_and_one_stays(runtime: Runtime, teacher: Person) -> None:
    """By a teacher or an administrator; each once in the audit log; who has gone sees nothing any more."""
    made, token = course(runtime)
    hopper, bob = account(runtime, "hopper"), account(runtime, "bob")
    service.accept(runtime, bob, token, pictures=True)
    for _ in range(2):
        assert service.add_teacher(runtime, teacher, made.id, "hopper").teachers == ["grace", "hopper"]
    for stranger in (bob, account(runtime, "eve")):
        with pytest.raises(NotFound):
            service.add_teacher(runtime, stranger, made.id, "eve")
        with pytest.raises(NotFound):
            service.remove_teacher(runtime, stranger, made.id, "grace")
    account(runtime, "topcat", Role.SERVICE)
    for nobody in ("nobody", "topcat"):
        with pytest.raises(NotFound, match=nobody):
            service.add_teacher(runtime, hopper, made.id, nobody)
    for _ in range(2):
        service.remove_teacher(runtime, hopper, made.id, "grace")
    with pytest.raises(NotFound):
        service.renew_link(runtime, teacher, made.id)
    with pytest.raises(NotFound):
        Pictures(runtime).of(teacher, made.id, bob.user_id)
    with pytest.raises(WrongState, match="only teacher"):
        service.remove_teacher(runtime, hopper, made.id, "hopper")
    service.add_teacher(runtime, account(runtime, "ada", Role.ADMIN), made.id, "grace")
    with runtime.database.reading() as db:
        log = db.scalars(select(Event).where(Event.action.like("course:teacher-%")).order_by(Event.id)).all()
    assert [(line.actor, line.action, line.detail["teacher"]) for line in log] == [
        ("grace", "course:teacher-added", "hopper"),
        ("hopper", "course:teacher-removed", "grace"),
        ("ada", "course:teacher-added", "grace"),
    ]


def test_two_teachers_who_remove_each_other_leave_one(each_runtime: Runtime) -> None:
    """However close together: whoever comes second does not teach any more."""
    grace, hopper = account(each_runtime, "grace"), account(each_runtime, "hopper")
    made, _ = course(each_runtime)
    service.add_teacher(each_runtime, grace, made.id, "hopper")
    with ThreadPoolExecutor(1) as threads:
        with each_runtime.database.transaction() as db:
            service.taught(db, each_runtime.settings, grace, made.id, alone=True).course.teachers = ["grace"]
            second = threads.submit(service.remove_teacher, each_runtime, hopper, made.id, "grace")
            wait([second], timeout=0.5)  # until it has come to where it must wait
        with pytest.raises(NotFound):
            second.result()


def test_seats_are_not_taken_away_from_under_who_is_just_sitting_down(each_runtime: Runtime) -> None:
    """The teacher makes fewer at the very moment: whoever comes second sees what the first did."""
    grace = account(each_runtime, "grace")
    made, token = course(each_runtime, seats=2)
    service.accept(each_runtime, account(each_runtime, "bob"), token, pictures=True)
    carol = account(each_runtime, "carol")
    with ThreadPoolExecutor(1) as threads:
        with each_runtime.database.transaction() as db:
            found = service.invited(db, each_runtime.settings, token)
            db.add(Seat(course_id=found.course.id, user_id=carol.user_id, accepted_at=now()))
            fewer = threads.submit(service.change, each_runtime, grace, made.id, Change(seats=1))
            wait([fewer], timeout=0.5)  # until it has come to where it must wait
        with pytest.raises(WrongState, match="2 people take part"):
            fewer.result()


def test_who_sits_down_while_the_end_is_moved_has_the_new_one(runtime: Runtime, teacher: Person) -> None:
    """Not the one that was when the page was shown."""
    fill(runtime, 3)
    made, _ = course(runtime)
    with runtime.database.reading() as db:
        before = db.get_one(Reservation, made.reservation_id)
    later = now() + 2 * HOUR
    service.change(runtime, teacher, made.id, Change(ends_at=later))
    session = sessions.request(runtime, account(runtime, "bob"), sessions.Wish("light"), guest_of=before)
    assert session.bound_until == later


def test_who_opens_the_link_twice_at_once_arrives_once(each_runtime: Runtime) -> None:
    """A browser that fetches ahead, or a double click."""
    account(each_runtime, "grace")
    _, token = course(each_runtime)
    bob = account(each_runtime, "bob")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: service.arrive(each_runtime, bob, token), range(8)))
    with each_runtime.database.reading() as db:
        assert len(db.scalars(select(Seat)).all()) == 1


def test_what_somebody_extended_stays_extended_when_the_course_is_changed(runtime: Runtime, teacher: Person) -> None:
    """A course of a week whose desktops live two days, unless they are extended: more seats end none of them."""
    fill(runtime, 3)
    week = now() + 7 * 24 * HOUR
    made, token = course(runtime, ends_at=week)
    bob = account(runtime, "bob")
    service.accept(runtime, bob, token, pictures=True)
    session = service.sit_down(runtime, bob, made.id)
    ready(runtime, session)
    extended = leases.extend(runtime, bob, session.id, 24).expires_at

    def ends() -> datetime | None:
        with runtime.database.reading() as db:
            return db.get_one(UserSession, session.id).expires_at

    for change in (Change(seats=4), Change(ends_at=week + HOUR)):
        service.change(runtime, teacher, made.id, change)
        assert ends() == extended
    sooner = now() + HOUR
    service.change(runtime, teacher, made.id, Change(ends_at=sooner))
    assert ends() == sooner


def test_a_list_of_courses_takes_as_few_questions_as_one(runtime: Runtime) -> None:
    """However many there are: the page is fetched afresh again and again."""
    account(runtime, "grace")
    ada = account(runtime, "ada", Role.ADMIN)

    def questions() -> int:
        with counting(runtime.database) as asked, runtime.database.reading() as db:
            overview.cards(db, runtime.settings, ada)
        return len(asked)

    course(runtime, seats=1)
    few = questions()
    for number in range(3):
        course(runtime, seats=1, title=f"Course {number}")
    assert questions() == few


def test_a_course_ends_its_desktops_and_leaves_nothing(runtime: Runtime, teacher: Person) -> None:
    """They are bound to its end, which moves with it; then sessions, people, link and seats go; twice is once."""
    fill(runtime, 4)
    made, token = course(runtime)
    bob, carol = account(runtime, "bob"), account(runtime, "carol")
    for person in (bob, carol):
        service.accept(runtime, person, token, pictures=True)
    session = service.sit_down(runtime, bob, made.id)
    ready(runtime, session)
    service.sit_down(runtime, carol, made.id)
    with pytest.raises(LeaseTooLong):
        leases.extend(runtime, bob, session.id, 1)
    later = now() + 2 * HOUR
    service.change(runtime, teacher, made.id, Change(ends_at=later))
    with pytest.raises(WrongState):
        service.change(runtime, teacher, made.id, Change(seats=1))
    with runtime.database.transaction() as db:
        assert db.get_one(UserSession, session.id).expires_at == later
        db.get_one(Reservation, made.reservation_id).ends_at = now()
        db.get_one(UserSession, session.id).bound_until = now()
        db.get_one(UserSession, session.id).expires_at = now()
    SessionUpkeep(runtime)._expire()
    for _ in range(2):
        upkeep.tend(runtime)
    with runtime.database.reading() as db:
        found = db.scalars(select(UserSession)).all()
        assert {(one.state, one.end_reason) for one in found} == {(SessionState.ENDING, "its course is over")}
        assert db.scalars(select(Seat)).all() == []
        row = db.get_one(Course, made.id)
        assert row.token_hash is None
        assert overview.card(db, runtime.settings, row).when is When.OVER
        over = db.scalars(select(Event.detail).where(Event.action == "course:over")).all()
    assert [(detail["sat"], detail["sessions"]) for detail in over] == [(2, 1)]
    with pytest.raises(NotFound):
        service.sit_down(runtime, bob, made.id)


def test_people_may_keep_their_desktops_where_the_course_lets_them(runtime: Runtime, teacher: Person) -> None:
    """Cancelled now, nothing is kept; what runs has its lease."""
    fill(runtime, 3)
    made, token = course(runtime, end_sessions=False)
    bob = account(runtime, "bob")
    service.accept(runtime, bob, token, pictures=True)
    session = service.sit_down(runtime, bob, made.id)
    ready(runtime, session)
    service.end(runtime, teacher, made.id)
    with runtime.database.reading() as db:
        kept = db.get_one(UserSession, session.id)
        assert kept.state == SessionState.READY
        assert kept.expires_at is not None
        assert kept.expires_at > now() + 24 * HOUR
        vacant = db.scalars(select(Machine).where(Machine.state == MachineState.VACANT)).all()
    assert len(vacant) == 2
    assert sessions.request(runtime, account(runtime, "eve"), sessions.Wish("light")).state == SessionState.PREPARING


def test_who_may_make_a_course_and_from_when_seats_are_open(runtime: Runtime) -> None:
    """The settings name groups; a seat opens when it is warm, not before; the same course twice is one."""
    groups = runtime.settings.courses.model_copy(update={"teacher_groups": ("staff",)})
    runtime.settings = runtime.settings.model_copy(update={"courses": groups})
    tutor, bob = account(runtime, "tutor", Role.USER, "staff"), account(runtime, "bob")
    begin = now() + HOUR
    lesson = Lesson("Mantid", "light", 2, begin, begin + HOUR)
    with pytest.raises(Forbidden):
        service.make(runtime, bob, lesson)
    made, token = service.make(runtime, tutor, lesson)
    assert token is not None
    again, nothing = service.make(runtime, tutor, lesson)
    assert (again.id, nothing) == (made.id, None)
    assert made.teachers == ["tutor"]
    with_bob, _ = service.make(runtime, tutor, replace(lesson, title="Another", teachers=("bob",)))
    assert with_bob.teachers == ["bob", "tutor"], "who makes a course does not lose sight of it"
    service.accept(runtime, bob, token, pictures=False)
    with pytest.raises(NoSeat, match="opens at"):
        service.sit_down(runtime, bob, made.id)
    service.change(runtime, tutor, made.id, Change(starts_at=now() + timedelta(minutes=14)))
    assert service.sit_down(runtime, bob, made.id).state == SessionState.QUEUED
