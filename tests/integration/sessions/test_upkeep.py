"""What the manager does for sessions by itself: leases, lost machines, lost work, the queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from redis import Redis
from sqlalchemy import select

from broker import jobs
from broker.database import now
from broker.events import Event
from broker.identity.service import Person
from broker.pools import service as pools
from broker.pools.access import settle
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.pools.models import move as move_machine
from broker.runtime import Runtime
from broker.sessions import jobs as session_jobs
from broker.sessions import leases, service, upkeep
from broker.sessions.models import SessionState, UserSession, move
from broker.sessions.upkeep import SessionUpkeep
from tests.conftest import FakeLauncher, NewPerson

S = SessionState


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> FakeLauncher:
    """What the upkeep launches with."""
    fake = FakeLauncher()
    monkeypatch.setattr(upkeep, "Launcher", lambda _: fake)
    return fake


@pytest.fixture
def keeper(runtime: Runtime, launcher: FakeLauncher) -> SessionUpkeep:
    """The manager's part that looks after sessions."""
    return SessionUpkeep(runtime)


Machines = Callable[..., None]


@pytest.fixture
def machines(runtime: Runtime) -> Machines:
    """Makes vacant machines that nothing answers for: `machines("light-ral", 2)`."""

    def make(pool: str, number: int = 1) -> None:
        settings = runtime.settings.pools[pool]
        where = {"environment": settings.environment, "size": settings.size, "cloud": settings.cloud}
        with runtime.database.transaction() as db:
            db.add_all(Machine(pool=pool, state=MachineState.VACANT, **where) for _ in range(number))

    return make


@pytest.fixture
def ready(runtime: Runtime, person: Person, machines: Machines) -> int:
    """A ready session of Alice's with two days to live."""
    machines("light-ral")
    session = service.request(runtime, person, Wish("light"))
    with runtime.database.transaction() as db:
        ends = now() + timedelta(hours=48)
        move(db, db.get_one(UserSession, session.id), S.READY, reason="painted", ready_at=now(), expires_at=ends)
    return session.id


def look(runtime: Runtime, session_id: int) -> UserSession:
    """The session as it stands now."""
    with runtime.database.reading() as db:
        return db.get_one(UserSession, session_id)


def leave(runtime: Runtime, session_id: int, **time: float) -> None:
    """Let the lease end in so much time."""
    with runtime.database.transaction() as db:
        db.get_one(UserSession, session_id).expires_at = now() + timedelta(**time)


def waiting_jobs(redis: Redis) -> list[str]:
    """The ids of jobs that wait in the queue of desktops."""
    return [str(id_) for id_ in jobs.Queue("desktops", connection=redis).job_ids]


def test_a_lease_that_is_over_ends_the_session_though_every_job_is_lost(
    runtime: Runtime, keeper: SessionUpkeep, ready: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis loses all it holds, twice: the sweep asks for the work again until it is done."""
    leave(runtime, ready, seconds=-1)
    keeper.tend()
    assert (look(runtime, ready).state, look(runtime, ready).end_reason) == (S.ENDING, "its lease is over")
    for _ in range(2):
        runtime.redis.flushall()
        keeper.tend()
        assert any(id_.startswith(f"finish_session-{ready}") for id_ in waiting_jobs(runtime.redis))
    monkeypatch.setattr(session_jobs, "current", lambda: runtime)
    session_jobs.finish_session(ready, look(runtime, ready).attempt)
    ended = look(runtime, ready)
    assert (ended.state, ended.end_reason, ended.password) == (S.ENDED, "its lease is over", None)
    with runtime.database.reading() as db:
        assert db.get_one(Machine, ended.machine_id).state == MachineState.DELETING


def test_nothing_but_its_lease_ends_a_session_that_nobody_looks_at(
    runtime: Runtime, keeper: SessionUpkeep, ready: int
) -> None:
    """A closed laptop is no reason: a long calculation goes on without a viewer."""
    with runtime.database.transaction() as db:
        session = db.get_one(UserSession, ready)
        session.changed_at = session.ready_at = now() - timedelta(hours=40)
    leave(runtime, ready, hours=2)
    keeper.tend()
    assert look(runtime, ready).state == S.READY
    assert waiting_jobs(runtime.redis) == []


def test_each_warning_is_given_once_and_again_after_an_extension(
    runtime: Runtime, keeper: SessionUpkeep, ready: int, person: Person
) -> None:
    """An hour and ten minutes before the end; a manager that looks every second does not repeat itself."""

    def warnings() -> list[float]:
        keeper.tend()
        keeper.tend()
        with runtime.database.reading() as db:
            found = db.scalars(select(Event).where(Event.action == "session:warn").order_by(Event.id))
            return [event.detail["minutes"] for event in found]

    assert warnings() == []
    leave(runtime, ready, minutes=59)
    assert warnings() == [60]
    leave(runtime, ready, minutes=9)
    assert warnings() == [60, 10]
    assert len([id_ for id_ in waiting_jobs(runtime.redis) if id_.startswith(f"notify-{ready}-")]) == 2
    leases.extend(runtime, person, ready, 10)
    assert warnings() == [60, 10]
    leave(runtime, ready, minutes=59)
    assert warnings() == [60, 10, 60]


def test_who_has_just_extended_is_not_warned_of_the_end_that_was(
    runtime: Runtime, keeper: SessionUpkeep, ready: int, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the manager's look and its word; the warnings before the new end come in their time."""
    leave(runtime, ready, minutes=9)
    before = look(runtime, ready)
    leases.extend(runtime, person, ready, 10)
    monkeypatch.setattr(keeper, "_all", lambda *_: [before])
    keeper._warn()
    assert look(runtime, ready).warned_minutes is None
    assert waiting_jobs(runtime.redis) == []


def test_a_session_whose_machine_is_gone_fails_and_says_why(
    runtime: Runtime, keeper: SessionUpkeep, ready: int
) -> None:
    """It is not shown as ready for ever; and its state does not flicker back."""
    with runtime.database.transaction() as db:
        machine = db.get_one(Machine, look(runtime, ready).machine_id)
        move_machine(db, machine, MachineState.FAILED, reason="lost", failure="The cloud no longer knows it.")
    for _ in range(2):
        keeper.tend()
        lost = look(runtime, ready)
        assert lost.state == S.FAILED
        assert lost.failure == "its machine was lost: The cloud no longer knows it."


def test_a_launch_whose_process_died_is_taken_up(
    runtime: Runtime, keeper: SessionUpkeep, launcher: FakeLauncher, person: Person, machines: Machines
) -> None:
    """Before it began to work, and in the middle of it; one that is at work is left alone."""
    machines("light-ral", 3)
    never_begun, half_way, at_work = (
        service.request(runtime, person, Wish("light"), another=True).id for _ in range(3)
    )
    with runtime.database.transaction() as db:
        db.get_one(UserSession, never_begun).changed_at = now() - timedelta(minutes=1)
        db.get_one(UserSession, half_way).work_until = now() - timedelta(seconds=1)
        db.get_one(UserSession, at_work).work_until = now() + timedelta(minutes=1)
    before = look(runtime, half_way).attempt
    keeper.tend()
    assert launcher.started == [never_begun, half_way]
    assert look(runtime, half_way).attempt == before + 1, "a slow worker that comes back writes nothing any more"


def test_who_waits_is_served_in_order_as_machines_come(
    runtime: Runtime, keeper: SessionUpkeep, launcher: FakeLauncher, new_person: NewPerson, machines: Machines
) -> None:
    """And a wish that one pool cannot serve does not stop others behind it."""
    names = ("alice", "bob", "carol")
    first, second, third = (service.request(runtime, new_person(name), Wish("light")).id for name in names)
    large = service.request(runtime, new_person("dave"), Wish("light", cores=4)).id
    assert keeper.tend() == {"light-ral": 3, "light-dl": 1}
    machines("light-ral", 2)
    assert keeper.tend() == {"light-ral": 1, "light-dl": 1}
    assert launcher.started == [first, second]
    machines("light-dl")
    keeper.tend()
    assert look(runtime, third).state == S.PREPARING, "the larger machine serves who waited longest"
    assert look(runtime, large).state == S.QUEUED


def test_who_waits_for_a_pool_that_is_drained_waits_elsewhere(
    runtime: Runtime, keeper: SessionUpkeep, new_person: NewPerson, person: Person
) -> None:
    """The place is kept, and the reason says where."""
    waiting = service.request(runtime, person, Wish("light")).id
    assert look(runtime, waiting).pool == "light-ral"
    pools.drain(runtime, new_person("ada", admin=True), "light-ral")
    assert keeper.tend() == {"light-dl": 1}
    assert "in Daresbury" in look(runtime, waiting).reason


def test_a_pool_that_failed_still_gives_out_what_is_vacant(
    runtime: Runtime, person: Person, machines: Machines
) -> None:
    """A pause after failures stops building; it refuses nobody while a machine waits."""
    machines("light-ral")
    with runtime.database.transaction() as db:
        for _ in range(runtime.settings.times.degraded_after):
            settle(db, runtime.settings, "light-ral", "The disk is full.")
    assert service.request(runtime, person, Wish("light")).state == S.PREPARING


def test_a_machine_that_served_one_session_never_serves_another(
    runtime: Runtime, keeper: SessionUpkeep, ready: int, person: Person, new_person: NewPerson
) -> None:
    """Not even the same person's next one: it goes with its session, whatever was left on it."""
    used = look(runtime, ready).machine_id
    service.end(runtime, person, ready)
    with runtime.database.transaction() as db:
        service.finish(db, db.get_one(UserSession, ready))
    queued = [service.request(runtime, who, Wish("light")).id for who in (person, new_person("bob"))]
    keeper.tend()
    assert [look(runtime, id_).machine_id for id_ in queued] == [None, None]
    with runtime.database.reading() as db:
        machine = db.get_one(Machine, used)
    assert machine.state == MachineState.DELETING
    assert machine.session_id == ready
