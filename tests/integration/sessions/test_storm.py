"""Many at once, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select

from broker.errors import AlreadyRunning, MachineFault, WrongState
from broker.identity.service import create_account
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import launch, quotas, service
from broker.sessions.models import SessionState, UserSession, move
from broker.settings import QuotaSettings
from tests.waiting import until


def fill(runtime: Runtime, number: int) -> None:
    """So many vacant machines in light-ral."""
    with runtime.database.transaction() as db:
        for _ in range(number):
            db.add(
                Machine(
                    pool="light-ral",
                    environment="light",
                    size="small",
                    cloud="ral",
                    state=MachineState.VACANT,
                    attempt=0,
                )
            )


def test_seventy_launches_on_seventy_machines_are_seventy_sessions(each_runtime: Runtime) -> None:
    """No error, no machine given twice, nobody queued while a machine is vacant."""
    fill(each_runtime, 70)
    people = [create_account(each_runtime, f"user{n}", f"User {n}", "secret-password") for n in range(70)]
    with ThreadPoolExecutor(32) as threads:
        sessions = list(threads.map(lambda p: service.request(each_runtime, p, Wish("light")), people))
    assert {session.state for session in sessions} == {SessionState.PREPARING}
    assert len({session.machine_id for session in sessions}) == 70


def test_a_double_click_makes_one_session(each_runtime: Runtime) -> None:
    """Two requests of one person at the same moment: one session, one answer that names it."""
    fill(each_runtime, 5)
    alice = create_account(each_runtime, "alice", "Alice", "secret-password")

    def click(_: int) -> int:
        try:
            return service.request(each_runtime, alice, Wish("light")).id
        except AlreadyRunning as error:
            return int(error.facts["session"])

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(click, range(8)))
    with each_runtime.database.reading() as db:
        assert set(db.scalars(select(UserSession.id))) == answers
        assert len(answers) == 1
        assert len(db.scalars(select(Machine).where(Machine.state == MachineState.ACQUIRED)).all()) == 1


def test_a_session_that_is_ended_by_many_at_once_is_ended_once(each_runtime: Runtime) -> None:
    """Nobody hears that somebody was quicker: what all of them wanted is so."""
    fill(each_runtime, 5)
    alice = create_account(each_runtime, "alice", "Alice", "secret-password")
    for _ in range(5):
        session = service.request(each_runtime, alice, Wish("light"))
        with ThreadPoolExecutor(8) as threads:
            ended = list(threads.map(lambda _, id_=session.id: service.end(each_runtime, alice, id_).state, range(8)))
        assert set(ended) == {SessionState.ENDING}


def test_a_launch_that_fails_waits_its_turn_before_it_holds_its_session(each_runtime: Runtime) -> None:
    """Who changes the wish meanwhile holds the group and wants the session: the two would wait for each other."""
    quotas_of_few = {"few": QuotaSettings(cores=5)}
    runtime = Runtime(each_runtime.settings.model_copy(update={"quotas": quotas_of_few}), each_runtime.database)
    fill(runtime, 1)
    alice = create_account(runtime, "alice", "Alice", "secret-password", groups=("few",))
    session = service.request(runtime, alice, Wish("light"))
    failure = (session.id, session.attempt, MachineFault("no desktop"))
    with ThreadPoolExecutor(1) as threads:
        with runtime.database.transaction() as db:
            quotas.hold(db, runtime.settings, "few")
            fails = threads.submit(launch._take_another_machine, runtime, *failure)
            wait([fails], timeout=0.5)  # until it has come to where it must wait
            db.get_one(UserSession, session.id, with_for_update={"nowait": True})
        fails.result()
    with runtime.database.reading() as db:
        assert db.get_one(UserSession, session.id).state == SessionState.QUEUED


def test_a_launch_that_nobody_foresaw_to_fail_is_logged_and_counted(runtime: Runtime) -> None:
    """Its thread has nobody else to tell; the manager takes the session up again."""

    def counted() -> float:
        return REGISTRY.get_sample_value("beamdesk_swallowed_errors_total", {"where": "launch"}) or 0.0

    before = counted()
    launcher = launch.Launcher(runtime, threads=1)
    launcher.start(4711)
    until(lambda: counted() == before + 1, "the error to be counted")
    launcher.stop()


def test_an_ended_session_stays_ended(each_runtime: Runtime) -> None:
    """A late worker that still thinks it prepares the session changes nothing."""
    fill(each_runtime, 1)
    alice = create_account(each_runtime, "alice", "Alice", "secret-password")
    session = service.request(each_runtime, alice, Wish("light"))
    service.end(each_runtime, alice, session.id)

    with pytest.raises(WrongState), each_runtime.database.transaction() as db:
        move(db, session, SessionState.READY, reason="late")
