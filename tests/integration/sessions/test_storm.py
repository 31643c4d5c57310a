"""Many at once, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from broker.errors import AlreadyRunning, WrongState
from broker.identity.service import create_account
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import SessionState, UserSession, move


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


def test_an_ended_session_stays_ended(each_runtime: Runtime) -> None:
    """A late worker that still thinks it prepares the session changes nothing."""
    fill(each_runtime, 1)
    alice = create_account(each_runtime, "alice", "Alice", "secret-password")
    session = service.request(each_runtime, alice, Wish("light"))
    service.end(each_runtime, alice, session.id)

    with pytest.raises(WrongState), each_runtime.database.transaction() as db:
        move(db, session, SessionState.READY, reason="late")
