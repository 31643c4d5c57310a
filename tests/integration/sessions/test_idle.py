"""Idle sessions, from the manager's question to the end of a session; only the machines' answers are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from rq.job import Job
from sqlalchemy import select

from agents.protocol import Nothing, NotifyRequest, StatusAnswer
from broker import jobs
from broker.database import now
from broker.errors import MachineUnreachable, NotFound, SessionNotReady
from broker.events import Event
from broker.identity.rights import Role
from broker.identity.service import Person, create_account
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import idle, overview, service, upkeep
from broker.sessions import jobs as session_jobs
from broker.sessions.idleness import Use
from broker.sessions.models import SessionState, UserSession, move
from broker.sessions.upkeep import SessionUpkeep
from tests.conftest import FakeLauncher

S = SessionState


@dataclass
class FakeAgents:
    """Machines that say what they are told to; None is silence. What they were asked is remembered."""

    idle_minutes: float | None = 0.0
    work: tuple[str, ...] = ()
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    notices: list[NotifyRequest] = field(default_factory=list)

    def __call__(self, _: Runtime, machine: Machine, verb: str, request: Any, __: Any, *, timeout: float) -> Any:
        if self.silent:
            raise MachineUnreachable(f"Machine {machine.name} did not answer within {timeout:.0f} s.")
        self.asked.append(f"{verb} {machine.id}")
        if verb == "notify":
            self.notices.append(request)
            return Nothing()
        seconds = None if self.idle_minutes is None else self.idle_minutes * 60
        return StatusAnswer(str(machine.session_id), "running", 0.0, 0.0, 1, seconds, "input", self.work)


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> FakeAgents:
    fake = FakeAgents()
    monkeypatch.setattr(session_jobs, "agent", fake)
    return fake


@dataclass
class Service:
    """A deployment whose sessions end after two idle hours, a quarter of an hour after a warning."""

    runtime: Runtime
    alice: Person
    keeper: SessionUpkeep

    def launch(self, *, state: SessionState = S.READY) -> int:
        """A session of Alice's that was launched ten hours ago."""
        with self.runtime.database.transaction() as db:
            where = {"pool": "light-ral", "environment": "light", "size": "small", "cloud": "ral"}
            db.add(Machine(state=MachineState.VACANT, **where))
        session = service.request(self.runtime, self.alice, Wish("light"), another=True)
        if state == S.READY:
            then = now() - timedelta(hours=10)
            with self.runtime.database.transaction() as db:
                row, ends = db.get_one(UserSession, session.id), now() + timedelta(hours=38)
                move(db, row, S.READY, reason="painted", ready_at=then, expires_at=ends)
        return session.id

    def look(self, session_id: int) -> UserSession:
        with self.runtime.database.reading() as db:
            return db.get_one(UserSession, session_id)

    def tend(self) -> None:
        """One round of the manager's, after a minute, and all of the work that it queues."""
        self.keeper._rounds._asked.clear()
        self.keeper.tend()
        self.work()

    def work(self) -> None:
        queue = jobs.Queue("probes", connection=self.runtime.redis)
        for id_ in queue.job_ids:
            job = Job.fetch(id_, connection=self.runtime.redis)
            job.func(*job.args)  # type: ignore[misc]
            job.delete()

    def pass_time(self, session_id: int, minutes: float) -> None:
        """Let what is known of the session have happened so much earlier."""
        with self.runtime.database.transaction() as db:
            row, passed = db.get_one(UserSession, session_id), timedelta(minutes=minutes)
            row.last_active_at = row.last_active_at and row.last_active_at - passed
            row.idle_warned_at = row.idle_warned_at and row.idle_warned_at - passed

    def events(self, session_id: int) -> list[str]:
        with self.runtime.database.reading() as db:
            mine = select(Event.action).where(Event.kind == "session", Event.subject == str(session_id))
            return [action.removeprefix("session:") for action in db.scalars(mine.order_by(Event.id))][3:]


NewService = Callable[[Runtime], Service]


@pytest.fixture
def new_service(agents: FakeAgents, monkeypatch: pytest.MonkeyPatch) -> NewService:
    """Makes the deployment on a database."""

    def make(opened: Runtime) -> Service:
        leases = opened.settings.leases.model_copy(update={"idle_hours": 2.0})
        runtime = Runtime(opened.settings.model_copy(update={"leases": leases}), opened.database)
        monkeypatch.setattr(upkeep, "Launcher", lambda _: FakeLauncher())
        monkeypatch.setattr(session_jobs, "current", lambda: runtime)
        return Service(runtime, create_account(runtime, "alice", "Alice", "alice-secret"), SessionUpkeep(runtime))

    return make


@pytest.fixture
def deployment(runtime: Runtime, new_service: NewService) -> Service:
    return new_service(runtime)


def test_an_idle_session_is_warned_in_its_desktop_and_ends_with_its_reason(
    each_runtime: Runtime, new_service: NewService, agents: FakeAgents
) -> None:
    """Not before the warning's time is over, however long it was idle already; and its machine goes."""
    here = new_service(each_runtime)
    session = here.launch()
    agents.idle_minutes = 100
    here.tend()
    assert (here.look(session).idle_warned_at, agents.notices) == (None, [])
    here.pass_time(session, 400)
    agents.idle_minutes = 500
    for _ in range(3):
        here.tend()
    assert [notice.title for notice in agents.notices] == ["Idle: this session ends in 15 min"]
    assert here.look(session).state == S.READY
    here.pass_time(session, 14)
    here.tend()
    assert here.look(session).state == S.READY
    here.pass_time(session, 1)
    here.tend()
    ended = here.look(session)
    assert ended.state == S.ENDING
    assert (ended.end_reason or "").startswith("idle for 8 h 20 min; its last activity was input at ")
    assert here.events(session) == ["idle-warn", "ending"]


@pytest.mark.parametrize("use", ["input", "work", "stay"])
def test_any_use_withdraws_the_warning(deployment: Service, agents: FakeAgents, use: str) -> None:
    """A key, a calculation that begins, or a click in the portal; the idle time begins anew."""
    session = deployment.launch()
    agents.idle_minutes = 110
    deployment.tend()
    deployment.pass_time(session, 30)
    if use == "stay":
        assert idle.stay(deployment.runtime, deployment.alice, session).idle_warned_at is None
    else:
        agents.idle_minutes = 0.1
        agents.work = ("3.8 cores busy",) if use == "work" else ()
    deployment.tend()
    found = deployment.look(session)
    assert (found.state, found.idle_warned_at) == (S.READY, None)
    assert found.last_sign == {"input": "input", "work": "3.8 cores busy", "stay": "a click in the portal"}[use]
    assert deployment.events(session) == ["idle-warn", "stay" if use == "stay" else "in-use-again"]


def test_a_machine_that_is_silent_or_does_not_know_is_never_idle(deployment: Service, agents: FakeAgents) -> None:
    """Not even one that was warned long ago: it might be at work."""
    session = deployment.launch()
    agents.idle_minutes = 500
    deployment.tend()
    deployment.pass_time(session, 600)
    agents.silent = True
    deployment.tend()
    agents.silent, agents.idle_minutes = False, None
    deployment.tend()
    assert deployment.look(session).state == S.READY
    agents.idle_minutes = 510
    deployment.tend()
    assert deployment.look(session).state == S.ENDING


def test_idle_rules_touch_no_machine_that_waits_or_is_being_prepared(deployment: Service, agents: FakeAgents) -> None:
    """Vacant machines are idle by their nature; nobody even asks them."""
    preparing = deployment.launch(state=S.PREPARING)
    with deployment.runtime.database.transaction() as db:
        where = {"pool": "light-ral", "environment": "light", "size": "small", "cloud": "ral"}
        old = now() - timedelta(days=9)
        db.add(Machine(state=MachineState.VACANT, changed_at=old, requested_at=old, vacant_at=old, **where))
    agents.idle_minutes = 10_000
    deployment.tend()
    session_jobs.ask_machines([preparing])
    assert agents.asked == []
    with deployment.runtime.database.reading() as db:
        assert set(db.scalars(select(Machine.state))) == {MachineState.VACANT, MachineState.ACQUIRED}


def test_kept_until_the_work_ends_it_is_not_warned_until_then(deployment: Service, agents: FakeAgents) -> None:
    """And its lease holds all the same."""
    session = deployment.launch()
    agents.idle_minutes = 500
    deployment.tend()
    idle.keep(deployment.runtime, deployment.alice, session, until_work_ends=True)
    deployment.tend()
    with deployment.runtime.database.transaction() as db:
        row = db.get_one(UserSession, session)
        assert (row.idle_warned_at, row.state) == (None, S.READY)
        row.kept_at = row.last_active_at = now() - timedelta(hours=3)
    deployment.tend()
    assert deployment.look(session).kept_at is None
    assert deployment.events(session) == ["idle-warn", "keep", "work-ended", "idle-warn"]
    idle.keep(deployment.runtime, deployment.alice, session, until_work_ends=True)
    with deployment.runtime.database.transaction() as db:
        db.get_one(UserSession, session).expires_at = now() - timedelta(seconds=1)
    agents.work = ("3.8 cores busy",)
    deployment.tend()
    assert deployment.look(session).end_reason == "its lease is over"


def test_machines_are_asked_once_a_minute_and_a_warned_one_more_often(
    deployment: Service, agents: FakeAgents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a move of the mouse withdraws a warning soon; Redis that lost the question is asked again."""
    quiet, warned = deployment.launch(), deployment.launch()
    rounds, start = idle.Rounds(), now()
    with deployment.runtime.database.transaction() as db:
        db.get_one(UserSession, warned).idle_warned_at = start
    asked = []
    for seconds in range(0, 125, 5):
        monkeypatch.setattr(idle, "now", lambda seconds=seconds: start + timedelta(seconds=seconds))
        asked += [(seconds, id_) for id_ in rounds.due(deployment.runtime)]
    assert [seconds for seconds, id_ in asked if id_ == quiet] == [0, 60, 120]
    assert [seconds for seconds, id_ in asked if id_ == warned] == list(range(0, 125, 10))


def test_an_answer_that_comes_late_changes_nothing(deployment: Service) -> None:
    """The session has ended meanwhile, or the machine speaks of another session."""
    session = deployment.launch()
    answer = StatusAnswer("4711", "running", 0.0, 0.0, 0, 36_000.0, "input", ())
    idle.hear(deployment.runtime, session, answer)
    assert deployment.look(session).heard_at is None
    service.end(deployment.runtime, deployment.alice, session)
    idle.hear(deployment.runtime, session, StatusAnswer(str(session), "none", 0.0, 0.0, 0, 36_000.0, "input", ()))
    assert deployment.look(session).heard_at is None
    with pytest.raises(SessionNotReady):
        idle.stay(deployment.runtime, deployment.alice, session)


def test_a_programs_session_is_never_idle(deployment: Service, agents: FakeAgents) -> None:
    """Whoever uses a front end's machine comes by ways that its agent does not see, and hears of no warning."""
    runtime = deployment.runtime
    deployment.alice = create_account(runtime, "topcat", "TopCAT", "topcat-secret", role=Role.SERVICE)
    session = deployment.launch()
    agents.idle_minutes = 10_000
    for _ in range(3):
        deployment.tend()
        deployment.pass_time(session, 600)
    assert deployment.look(session).state == S.READY
    assert agents.notices == []
    with runtime.database.reading() as db:
        [card] = overview.active(db, runtime.settings, deployment.alice)
    assert card.use is not None
    assert (card.use.state, card.use.ends_at) == (Use.IDLE, None)


def test_only_its_owner_or_an_administrator_keeps_a_session(deployment: Service) -> None:
    """For anybody else it does not exist."""
    session = deployment.launch()
    bob = create_account(deployment.runtime, "bob", "Bob", "bob-secret")
    with pytest.raises(NotFound):
        idle.stay(deployment.runtime, bob, session)
    with pytest.raises(NotFound):
        idle.keep(deployment.runtime, bob, session, until_work_ends=True)
