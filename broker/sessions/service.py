"""What can be done with sessions: request, connect, extend, end. One transaction each."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import events
from broker.connections import tickets
from broker.database import now
from broker.errors import (
    AlreadyRunning,
    Forbidden,
    InvalidRequest,
    NotFound,
    NothingFits,
    NoVacantMachine,
    SessionNotReady,
    UnknownEnvironment,
)
from broker.identity.models import User
from broker.identity.service import Person
from broker.pools import allocation, stock
from broker.pools.allocation import Refusal, Wish
from broker.pools.models import Machine, MachineState
from broker.pools.models import move as move_machine
from broker.runtime import Runtime
from broker.sessions import rules
from broker.sessions.models import ACTIVE, SessionState, UserSession, mark, move
from broker.sessions.waiting import queued_by_pool
from broker.settings import EnvironmentSettings, Settings

S = SessionState
BY_OWNER = "ended by you"


def request(runtime: Runtime, person: Person, wish: Wish, *, another: bool = False) -> UserSession:
    """Launch a session: claim a vacant machine, or queue for one. Nothing is changed where it raises.

    `another` allows a second session of an environment that the person has running already. Two requests of one
    person at the same moment are served one after the other, so that a double click makes one session.
    """
    environment = offered(runtime.settings, person, wish.environment)
    with runtime.database.transaction() as db:
        db.execute(select(User.id).where(User.id == person.user_id).with_for_update())
        _must_be_allowed(db, runtime.settings, person, wish.environment, another)
        session = UserSession(
            user_id=person.user_id,
            environment=environment.name,
            wish=asdict(wish),
            password=secrets.token_urlsafe(18),
            requested_at=now(),
        )
        db.add(session)
        db.flush()
        events.record(db, "session:requested", session.id, actor=person.name, owner=person.user_id, wish=asdict(wish))
        _decide(db, runtime.settings, session, wish)
        return session


def offered(settings: Settings, person: Person, name: str) -> EnvironmentSettings:
    """The environment of that name, or UnknownEnvironment where it is not, or not for this person."""
    environment = settings.environments.get(name)
    if environment is None or not (person.is_admin or environment.open_to(person.groups)):
        names = [e.name for e in settings.environments.values() if person.is_admin or e.open_to(person.groups)]
        raise UnknownEnvironment(
            f"There is no environment {name[:60]!r} for you.",
            hint=f"Choose one of: {', '.join(names) or 'none'}.",
        )
    return environment


def _must_be_allowed(db: Session, settings: Settings, person: Person, environment: str, another: bool) -> None:
    if person.is_service:  # it speaks for many people; the pools' limits hold it
        return
    mine = db.execute(
        select(UserSession.id, UserSession.environment).where(
            UserSession.user_id == person.user_id, UserSession.state.in_(ACTIVE)
        )
    ).all()
    running = [id_ for id_, name in mine if name == environment]
    if running and not another:
        raise AlreadyRunning(
            "You have a session of this environment already.",
            hint="Return to it, or ask for another one.",
            session=running[0],
        )
    rules.must_have_room(len(mine), settings.limits.sessions_per_user)


def _decide(db: Session, settings: Settings, session: UserSession, wish: Wish) -> None:
    waiting = queued_by_pool(db)
    offers = [
        replace(offer, vacant=max(0, offer.vacant - waiting[offer.pool]))  # nobody overtakes those who wait
        for offer in stock.offers(db, settings, wish.environment)
    ]
    choice = allocation.choose(wish, offers)
    if isinstance(choice, Refusal):
        raise NothingFits(
            f"No machine can serve this wish: {choice.reason}.",
            hint="Wish for less, or for another location.",
        )
    mark(db, session, "chosen")
    if not claim_for(db, settings, session, wish, offers):
        if wish.pool is not None:
            raise NoVacantMachine(f"No machine of {wish.pool} is vacant.", hint="Try again later.")
        move(db, session, S.QUEUED, reason=choice.reason, pool=choice.pool)
        db.refresh(session)
        session.reason = choice.reason


def claim_for(
    db: Session, settings: Settings, session: UserSession, wish: Wish, offers: list[allocation.Offer]
) -> bool:
    """Claim the best vacant machine for `session` and move it to preparing; False where none is vacant."""
    for offer in allocation.ranked(wish, offers):
        if not offer.vacant:
            return False
        machine_id = stock.claim(db, offer.pool, session.id)
        if machine_id is not None:
            choice = allocation.choose(wish, [offer, *(o for o in offers if o is not offer and not o.vacant)])
            reason = choice.reason if not isinstance(choice, Refusal) else ""
            tries = session.tries + 1
            move(db, session, S.PREPARING, reason=reason, pool=offer.pool, machine_id=machine_id, tries=tries)
            db.refresh(session)
            session.reason = reason
            mark(db, session, "claimed")
            return True
    return False


def mine(db: Session, person: Person, session_id: int) -> UserSession:
    """The session, if it is this person's or this person is an administrator; else NotFound for both alike."""
    session = db.get(UserSession, session_id)
    if session is None or not (session.user_id == person.user_id or person.is_admin):
        raise NotFound(f"There is no session {session_id} of yours.", hint="Look at your list of sessions.")
    return session


def end(runtime: Runtime, person: Person, session_id: int, *, reason: str = "") -> UserSession:
    """End the session; ending what has ended already changes nothing."""
    with runtime.database.transaction() as db:
        session = mine(db, person, session_id)
        if session.state in ACTIVE:
            by = BY_OWNER if session.user_id == person.user_id else "ended by an administrator"
            close(db, session, reason=reason or by, actor=person.name)
        return session


def close(db: Session, session: UserSession, *, reason: str, actor: str = events.SYSTEM) -> None:
    """Move an active session to ending; gateways close its connections, and its machine is deleted after it."""
    move(db, session, S.ENDING, reason=reason, actor=actor, end_reason=reason)
    db.refresh(session)


def finish(db: Session, session: UserSession) -> None:
    """From ending to ended: the machine goes, the password is forgotten."""
    move(db, session, S.ENDED, reason=session.end_reason or "", ended_at=now(), password=None)
    machine = db.get(Machine, session.machine_id) if session.machine_id else None
    if machine is not None and machine.state in (MachineState.ACQUIRED, MachineState.FAILED):
        move_machine(db, machine, MachineState.DELETING, reason=f"session {session.id} ended")
    db.refresh(session)


def fail(db: Session, session: UserSession, failure: str) -> None:
    """Give a session up; its machine, if any, is kept with its evidence as a failed one."""
    move(db, session, S.FAILED, reason=failure, failure=failure, ended_at=now(), password=None)
    machine = db.get(Machine, session.machine_id) if session.machine_id else None
    if machine is not None and machine.state == MachineState.ACQUIRED:
        move_machine(db, machine, MachineState.FAILED, reason=failure, failure=failure)
    db.refresh(session)


def extend(runtime: Runtime, person: Person, session_id: int, hours: float | None = None) -> UserSession:
    """Let the lease run `hours` longer (the settings' step where None), within the longest lease."""
    leases = runtime.settings.leases
    wished = leases.extend_hours if hours is None else hours
    if not 0 < wished <= leases.maximum_hours:
        raise InvalidRequest(f"A lease cannot be extended by {wished:g} hours.", hint="Give a number above 0.")
    with runtime.database.transaction() as db:
        session = mine(db, person, session_id)
        if session.state != S.READY or session.expires_at is None:
            raise SessionNotReady(
                f"Session {session.id} is {session.state}; only a ready one can be extended.",
                hint="Wait until it is ready." if session.state in ACTIVE else "Launch a new one.",
            )
        started = session.ready_at or session.requested_at
        session.expires_at = rules.extended(session.expires_at, started, wished, leases.maximum_hours)
        session.warned_minutes = None
        events.record(db, "session:extend", session.id, actor=person.name, owner=session.user_id, hours=wished)
        return session


def ticket(runtime: Runtime, person: Person, session_id: int) -> str:
    """A single-use ticket for the browser desktop of the person's own ready session."""
    with runtime.database.transaction() as db:
        session = mine(db, person, session_id)
        _must_be_own_and_ready(person, session)
        token = tickets.issue(db, session.id, person, runtime.settings.gateway.ticket_seconds)
        mark(db, session, "ticket")
        return token


@dataclass(frozen=True)
class Desktop:
    """Where a session's desktop is, for those who carry its bytes. `password` never leaves the broker's side."""

    session_id: int
    user_id: int
    user: str
    sign_in_id: int
    environment: str
    machine: str
    address: str
    host_key: str
    password: str


def redeem(db: Session, person: Person, token: str) -> Desktop:
    """Use the person's ticket up; the desktop that it opens, or TicketRefused or SessionNotReady."""
    used = tickets.redeem(db, person, token)
    session = db.get_one(UserSession, used.session_id)
    _must_be_own_and_ready(person, session)
    return _desktop(db, session, used.sign_in_id)


def desktop(runtime: Runtime, person: Person, session_id: int) -> Desktop:
    """The person's own ready desktop, for connection files."""
    with runtime.database.reading() as db:
        session = mine(db, person, session_id)
        _must_be_own_and_ready(person, session)
        return _desktop(db, session, person.sign_in_id or 0)


def _must_be_own_and_ready(person: Person, session: UserSession) -> None:
    if session.user_id != person.user_id:
        raise Forbidden("Only its owner may open this desktop.", hint="An administrator can end it, not look into it.")
    if session.state != S.READY:
        raise SessionNotReady(
            f"Session {session.id} is {session.state}; it has no desktop to open.",
            hint="Wait until it is ready." if session.state in ACTIVE else "Launch a new one.",
        )


def _desktop(db: Session, session: UserSession, sign_in_id: int) -> Desktop:
    machine = db.get(Machine, session.machine_id) if session.machine_id else None
    if session.state != S.READY or machine is None or not machine.address or not session.password:
        raise SessionNotReady(
            f"Session {session.id} is {session.state}; it has no desktop to open.",
            hint="Open it from the portal again.",
        )
    user = db.get_one(User, session.user_id)
    return Desktop(
        session_id=session.id,
        user_id=user.id,
        user=user.name,
        sign_in_id=sign_in_id,
        environment=session.environment,
        machine=machine.name,
        address=machine.address,
        host_key=machine.host_key or "",
        password=session.password,
    )


def lease_of(settings: Settings, environment: str) -> timedelta:
    """How long a new session of this environment lives."""
    own = settings.environments[environment].lease_hours if environment in settings.environments else None
    return timedelta(hours=own or settings.leases.default_hours)


def queue_place(db: Session, session: UserSession) -> int:
    """The session's place among those that wait for the same pool; 1 is next."""
    before = select(func.count()).where(
        UserSession.state == S.QUEUED, UserSession.pool == session.pool, UserSession.id < session.id
    )
    return 1 + (db.scalar(before) or 0)
