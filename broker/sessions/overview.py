"""Sessions as people see them: cards for lists and pages, made from a few queries however long the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, aliased

from broker.connections import policy
from broker.database import now
from broker.identity.models import User
from broker.identity.service import Person
from broker.pools import overview as pools_overview
from broker.pools.alternatives import Alternative, WhyNot
from broker.pools.models import Machine
from broker.sessions import idle, idleness, service, timings, waiting, wishes
from broker.sessions.idleness import Use
from broker.sessions.models import ACTIVE, LIVE, LaunchMark, SessionState, UserSession, runs_as
from broker.sessions.waiting import Queues
from broker.settings import Policy, Settings

S = SessionState
NEWS = timedelta(hours=1)  # for how long a session that ended by itself is shown among the running ones


@dataclass(frozen=True)
class Step:
    """One step of a launch, as the waiting user sees it; `seconds` since the click it was done."""

    name: str
    title: str
    done: bool
    seconds: float | None


@dataclass(frozen=True)
class MachineFacts:
    """What the session's machine is."""

    name: str
    location: str
    cores: int
    memory_gb: float
    gpus: int
    gpu_model: str
    properties: dict[str, str]


@dataclass(frozen=True)
class UseFacts:
    """How a ready session is used: `work` runs just now; idle since the last sign; after `limit_seconds` without use,
    at `ends_at`, it ends, unless it is kept or nothing is heard of it."""

    state: Use
    work: str
    since: datetime
    idle_seconds: float
    sign: str
    limit_seconds: float | None
    ends_at: datetime | None
    seconds_left: float | None
    warned: bool
    kept: bool


@dataclass(frozen=True)
class Card:
    """One session. Times in UTC, durations in seconds; `place` 1 is next in the queue. `account` is the one on its
    machine: not `user` where somebody has handed it over."""

    id: int
    user: str
    full_name: str
    environment: str
    title: str
    icon: str
    state: SessionState
    steps: list[Step]
    reason: str
    place: int | None
    wait_seconds: float | None
    alternatives: list[Alternative]
    why_not: list[WhyNot]
    requested_at: datetime
    ready_at: datetime | None
    expires_at: datetime | None
    seconds_left: float | None
    lease_seconds: float | None
    longest_until: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    failure: str | None
    warned: bool
    machine: MachineFacts | None
    launch: dict[str, float]
    use: UseFacts | None
    policy: Policy
    not_allowed: list[str]
    group: str
    account: str
    account_name: str

    @property
    def can_extend(self) -> bool:
        """Whether its lease may still be made longer."""
        return bool(self.longest_until and self.expires_at and self.longest_until > self.expires_at)

    @property
    def active(self) -> bool:
        """Whether it still counts as one of the user's sessions."""
        return self.state in ACTIVE


def active(db: Session, settings: Settings, person: Person) -> list[Card]:
    """The person's own sessions that are not over, the newest first; one that just ends is among them."""
    return cards(db, settings, UserSession.user_id == person.user_id, UserSession.state.in_(LIVE))


def ended(db: Session, settings: Settings, person: Person, *, limit: int, before: int | None) -> list[Card]:
    """The person's own sessions that are over, the newest first; `before` is the last id of the page before."""
    over = (UserSession.user_id == person.user_id, UserSession.state.not_in(LIVE))
    return cards(db, settings, *over, limit=limit, before=before)


def just_over(db: Session, settings: Settings, person: Person) -> list[Card]:
    """The person's own sessions that failed, or that something or somebody else ended, and whose owner may not know.

    One goes from this list after a while, or as soon as its environment runs again.
    """
    mine = UserSession.user_id == person.user_id
    running = select(UserSession.environment).where(mine, UserSession.state.in_(LIVE))
    by_others = or_(UserSession.end_reason.is_(None), UserSession.end_reason != service.BY_OWNER)
    over = (UserSession.state.not_in(LIVE), UserSession.ended_at > now() - NEWS)
    return cards(db, settings, mine, *over, by_others, UserSession.environment.not_in(running), limit=3)


def queued(db: Session, settings: Settings) -> list[Card]:
    """All sessions that wait: the next one of each pool first."""
    found = cards(db, settings, UserSession.state == S.QUEUED, limit=500)
    return sorted(found, key=lambda card: (card.place or 0, card.requested_at))


def one(db: Session, settings: Settings, session: UserSession) -> Card:
    """The card of this session."""
    return cards(db, settings, UserSession.id == session.id)[0]


def cards(
    db: Session, settings: Settings, *which: ColumnElement[bool], limit: int = 200, before: int | None = None
) -> list[Card]:
    """The cards of the sessions of which these hold, the newest first."""
    account = aliased(User)
    query = (
        select(UserSession, User, account, Machine)
        .join(User, User.id == UserSession.user_id)
        .join(account, runs_as(account))
        .outerjoin(Machine, Machine.id == UserSession.machine_id)
        .where(*which, *([UserSession.id < before] if before is not None else []))
        .order_by(UserSession.id.desc())
        .limit(limit)
    )
    rows = db.execute(query).all()
    marks = _marks(db, [session.id for session, *_ in rows])
    queued = any(session.state == S.QUEUED for session, *_ in rows)
    queues = waiting.look(db, settings) if queued else None
    moment = now()
    return [
        _card(settings, session, user, runs_as, machine, marks.get(session.id, {}), queues, moment)
        for session, user, runs_as, machine in rows
    ]


def _marks(db: Session, ids: Sequence[int]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for mark in db.scalars(select(LaunchMark).where(LaunchMark.session_id.in_(ids)).order_by(LaunchMark.seconds)):
        found.setdefault(mark.session_id, {})[mark.stage] = round(mark.seconds, 3)
    return found


def _card(
    settings: Settings,
    session: UserSession,
    user: User,
    account: User,
    machine: Machine | None,
    marks: dict[str, float],
    queues: Queues | None,
    moment: datetime,
) -> Card:
    environment = settings.environments.get(session.environment)
    place = queues.place(session.pool, session.id) if queues and session.state == S.QUEUED else None
    found = wishes.prospects(settings, queues, session) if queues and session.state == S.QUEUED else wishes.NONE
    ready = session.state == S.READY
    longest = timedelta(hours=settings.leases.maximum_hours)
    allowed = policy.of_all(settings, session.environment, (user, account))
    return Card(
        id=session.id,
        user=user.name,
        full_name=user.full_name,
        environment=session.environment,
        title=environment.title if environment else session.environment,
        icon=environment.icon if environment else "display",
        state=S(session.state),
        steps=_steps(session, marks),
        reason=session.reason,
        place=place,
        wait_seconds=queues.wait_seconds(session.pool, place) if queues and place else None,
        alternatives=found.alternatives,
        why_not=found.why_not,
        requested_at=session.requested_at,
        ready_at=session.ready_at,
        expires_at=session.expires_at,
        seconds_left=_seconds(moment, session.expires_at) if ready else None,
        lease_seconds=_seconds(session.ready_at, session.expires_at) if ready else None,
        longest_until=_longest(session, longest) if ready else None,
        ended_at=session.ended_at,
        end_reason=session.end_reason,
        failure=session.failure,
        warned=session.warned_minutes is not None,
        machine=_facts(settings, machine),
        launch=marks,
        use=_use(settings, session, user, moment) if ready else None,
        policy=allowed,
        not_allowed=policy.in_words(allowed),
        group=session.group,
        account=account.name,
        account_name=account.full_name,
    )


def _longest(session: UserSession, longest: timedelta) -> datetime | None:
    """Until when it may live at most."""
    ends = [session.ready_at + longest] if session.ready_at else []
    return min([*ends, session.bound_until] if session.bound_until else ends, default=None)


def _use(settings: Settings, session: UserSession, user: User, moment: datetime) -> UseFacts:
    known, rule = idle.activity_of(session), idle.rule_of(settings, session.environment, user)
    state = idleness.use(known, moment)
    may_end = not known.kept_at and state != Use.UNKNOWN
    ends_at = idleness.ends_at(known, rule, moment) if rule and may_end else None
    return UseFacts(
        state=state,
        work=known.work,
        since=known.last_active_at,
        idle_seconds=_seconds(known.last_active_at, moment) or 0.0,
        sign=known.sign,
        limit_seconds=rule.after.total_seconds() if rule else None,
        ends_at=ends_at,
        seconds_left=_seconds(moment, ends_at),
        warned=known.warned_at is not None,
        kept=known.kept_at is not None,
    )


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    return max(0.0, round((end - begin).total_seconds(), 1)) if begin and end else None


def _steps(session: UserSession, marks: Mapping[str, float]) -> list[Step]:
    has_machine = session.machine_id is not None
    ready = session.ready_at is not None
    return [
        Step("choose", "Choose a machine", has_machine or "chosen" in marks, marks.get("chosen")),
        Step("claim", "Reserve it for you", has_machine, marks.get("claimed")),
        Step("attach", "Start your desktop", has_machine and (ready or "attached" in marks), marks.get("attached")),
        Step("ready", "Ready", ready, marks.get("ready")),
    ]


def _facts(settings: Settings, machine: Machine | None) -> MachineFacts | None:
    if machine is None:
        return None
    size, cloud = settings.sizes.get(machine.size), settings.clouds.get(machine.cloud)
    return MachineFacts(
        name=machine.name,
        location=cloud.title if cloud else machine.cloud,
        cores=size.cores if size else 0,
        memory_gb=size.memory_gb if size else 0,
        gpus=size.gpus if size else 0,
        gpu_model=size.gpu_model if size else "",
        properties=settings.properties_of(machine.cloud, machine.size, machine.environment, machine.pool),
    )


@dataclass(frozen=True)
class Summary:
    """The deployment in a few numbers; `desktop_p50` is the median of recent launches, in seconds."""

    ready: int
    preparing: int
    queued: int
    vacant: int
    coming: int
    acquired: int
    failed: int
    degraded: int
    desktop_p50: float | None


def summary(db: Session, settings: Settings) -> Summary:
    """The deployment as it stands now."""
    rows = db.execute(
        select(UserSession.state, func.count()).where(UserSession.state.in_(LIVE)).group_by(UserSession.state)
    )
    sessions = {S(state): number for state, number in rows}
    pools = pools_overview.pools(db, settings, waiting.queued_by_pool(db))
    recent = sorted(
        db.scalars(
            select(LaunchMark.seconds)
            .where(LaunchMark.stage == "ready")
            .order_by(LaunchMark.session_id.desc())
            .limit(timings.RECENT)
        )
    )
    return Summary(
        ready=sessions.get(S.READY, 0),
        preparing=sessions.get(S.PREPARING, 0) + sessions.get(S.REQUESTED, 0),
        queued=sessions.get(S.QUEUED, 0),
        vacant=sum(pool.vacant for pool in pools),
        coming=sum(pool.coming for pool in pools),
        acquired=sum(pool.acquired for pool in pools),
        failed=sum(pool.failed for pool in pools),
        degraded=sum(pool.degraded for pool in pools),
        desktop_p50=round(timings.quantile(recent, 0.5), 2) if recent else None,
    )
