"""What can be done with sessions: request, connect, end. One transaction each."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, replace

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from agents.protocol import SSH_PORT
from broker import events
from broker.connections import tickets
from broker.connections.models import Share, Ticket, Way
from broker.connections.policy import NOTHING, applying, must_be_heard, of_all, strictest
from broker.database import now
from broker.errors import (
    AlreadyRunning,
    Forbidden,
    NoSeat,
    NotFound,
    NoVacantMachine,
    SessionNotReady,
    TicketRefused,
    UnknownEnvironment,
)
from broker.identity.models import User
from broker.identity.rights import Right
from broker.identity.service import Person, person_of
from broker.pools import allocation, stock
from broker.pools.allocation import Offer, Wish
from broker.pools.models import Machine, MachineState, Reservation
from broker.pools.models import move as move_machine
from broker.runtime import Runtime
from broker.sessions import claims, quotas, seats, waiting
from broker.sessions.models import ACTIVE, SessionState, UserSession, mark, move
from broker.settings import EnvironmentSettings, Policy, Settings

S = SessionState
BY_OWNER = "ended by you"
_USERS, _SESSIONS = (table.metadata.tables[table.__tablename__] for table in (User, UserSession))
_LOCK = select(_USERS.c.id).where(_USERS.c.id == bindparam("user")).with_for_update()
_ACTIVE = select(_SESSIONS.c.id, _SESSIONS.c.environment).where(
    _SESSIONS.c.user_id == bindparam("user"), _SESSIONS.c.state.in_(ACTIVE)
)


def request(
    runtime: Runtime, person: Person, wish: Wish, *, another: bool = False, guest_of: Reservation | None = None
) -> UserSession:
    """Launch a session: claim a vacant machine, or queue for one. Nothing is changed where it raises.

    `another` allows a second session of an environment that the person has running already. Two requests of one
    person at the same moment are served one after the other, so that a double click makes one session.

    A guest of a reservation takes one of its seats, and may use its environment and pools for that; twice is once.
    """
    if guest_of is None:
        environment, groups = offered(runtime.settings, person, wish.environment), person.groups
    else:
        environment, groups = _as_guest(runtime.settings, person, guest_of)
    wish = replace(wish, groups=tuple(sorted(groups)))
    with runtime.database.transaction() as db:
        db.execute(_LOCK, {"user": person.user_id})
        seated = _seated(db, person, guest_of) if guest_of else None
        if seated is not None:
            return seated
        _must_be_allowed(db, runtime.settings, person, environment, another or guest_of is not None)
        kept = seats.hold(db, runtime.settings, environment.name)
        whose = (person.groups, None) if guest_of is None else ((), guest_of.id)
        seat = kept.of(environment.name, *whose)
        if guest_of is not None and seat is None:
            raise NoSeat(f"{guest_of.title} has no seat for you now.", hint="Ask who runs it.")
        ahead = waiting.queued_by_pool(db)
        offers = waiting.vacancies(db, runtime.settings, environment.name, kept, behind=ahead, seat=seat)
        group, affordable = _group_for(db, runtime.settings, person, environment, wish, offers)
        session = UserSession(
            user_id=person.user_id,
            group=group,
            environment=environment.name,
            wish=asdict(wish),
            reservation_id=seat,
            bound_until=kept.bound_until(seat),
            password=secrets.token_urlsafe(18),
            requested_at=now(),
        )
        db.add(session)
        db.flush()
        events.record(db, "session:requested", session.id, actor=person.name, owner=person.user_id, wish=asdict(wish))
        mark(db, session, "chosen", known_first=True)
        if not claims.claim_for(db, runtime.settings, session, wish, affordable):
            if wish.pool is not None:
                raise NoVacantMachine(f"No machine of {wish.pool} is vacant.", hint="Try again later.")
            best = affordable[0]
            reason = allocation.explain(best, affordable, wish, stock.weights(runtime.settings))
            move(db, session, S.QUEUED, reason=reason, pool=best.pool)
        return session


def _as_guest(settings: Settings, person: Person, of: Reservation) -> tuple[EnvironmentSettings, frozenset[str]]:
    """The environment of the reservation, and the groups that open its pools to this person."""
    environment = settings.environments.get(of.environment)
    if environment is None:
        raise UnknownEnvironment(
            f"{of.title} is of {of.environment}, which is no longer offered.", hint="Tell an administrator."
        )
    pools = (settings.pools[pool] for pool in of.pools if pool in settings.pools)
    return environment, person.groups.union(*(pool.groups for pool in pools))


def _seated(db: Session, person: Person, of: Reservation) -> UserSession | None:
    """The session with which this person has a seat of the reservation already."""
    mine = (UserSession.user_id == person.user_id, UserSession.reservation_id == of.id)
    return db.scalar(select(UserSession).where(*mine, UserSession.state.in_(ACTIVE)).order_by(UserSession.id).limit(1))


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


def _must_be_allowed(
    db: Session, settings: Settings, person: Person, environment: EnvironmentSettings, another: bool
) -> None:
    if person.is_service:  # it speaks for many people; the quotas of environments and groups hold it
        quotas.must_allow(db, settings, environment, None)
        return
    mine = db.execute(_ACTIVE, {"user": person.user_id}).all()
    running = [id_ for id_, name in mine if name == environment.name]
    if running and not another:
        raise AlreadyRunning(
            "You have a session of this environment already.",
            hint="Return to it, or ask for another one.",
            session=running[0],
        )
    quotas.must_allow(db, settings, environment, [name for _, name in mine])


def _group_for(
    db: Session,
    settings: Settings,
    person: Person,
    environment: EnvironmentSettings,
    wish: Wish,
    offers: list[Offer],
) -> tuple[str, list[Offer]]:
    """The group that the session counts for, and the offers that its quota allows; or NothingFits or OverQuota."""
    fitting = allocation.ranked(wish, offers, stock.weights(settings))
    if not fitting:
        raise claims.nothing_fits(wish, offers)
    groups = quotas.groups_of(settings, person, environment)
    for group in groups:
        affordable = quotas.affordable(db, settings, group, fitting)
        if affordable:
            return group, affordable
    raise quotas.refusal(db, settings, groups[0], fitting[0])


def mine(db: Session, person: Person, session_id: int, *, others: Right = Right.LOOK) -> UserSession:
    """The session, if it is this person's, or this person has the right `others`.

    NotFound where it is somebody else's and one may not look at those, as where there is none; else Forbidden.
    """
    session = db.get(UserSession, session_id)
    own = session is not None and session.user_id == person.user_id
    if session is None or not (own or person.may(Right.LOOK)):
        if session is not None and session.account_id == person.user_id:
            raise NotFound(f"You have handed session {session_id} over.", hint="It is in your history.")
        raise NotFound(f"There is no session {session_id} of yours.", hint="Look at your list of sessions.")
    if not own:
        person.must(others)
    return session


def end(runtime: Runtime, person: Person, session_id: int, *, reason: str = "") -> UserSession:
    """End the session; ending what has ended already changes nothing."""
    with runtime.database.transaction() as db:
        session = mine(db, person, session_id, others=Right.OPERATE)
        db.refresh(session, with_for_update=True)  # a second click, or its launch, may be at it at this moment
        mine(db, person, session_id, others=Right.OPERATE)  # and it may have been handed over
        if session.state in ACTIVE:
            by = BY_OWNER if session.user_id == person.user_id else "ended by an administrator"
            close(db, session, reason=reason or by, actor=person.name)
        return session


def close(db: Session, session: UserSession, *, reason: str, actor: str = events.SYSTEM) -> None:
    """Move an active session to ending; gateways close its connections, and its machine is deleted after it."""
    move(db, session, S.ENDING, reason=reason, actor=actor, end_reason=reason)


def finish(db: Session, session: UserSession) -> None:
    """From ending to ended: the machine goes, the password is forgotten."""
    move(db, session, S.ENDED, reason=session.end_reason or "", ended_at=now(), password=None)
    machine = db.get(Machine, session.machine_id) if session.machine_id else None
    if machine is not None and machine.state in (MachineState.ACQUIRED, MachineState.FAILED):
        move_machine(db, machine, MachineState.DELETING, reason=f"session {session.id} ended")


def fail(db: Session, session: UserSession, failure: str) -> None:
    """Give a session up; its machine, if any, is kept with its evidence as a failed one."""
    move(db, session, S.FAILED, reason=failure, failure=failure, ended_at=now(), password=None)
    machine = db.get(Machine, session.machine_id) if session.machine_id else None
    if machine is not None and machine.state == MachineState.ACQUIRED:
        move_machine(db, machine, MachineState.FAILED, reason=failure, failure=failure)


def sound_ticket(runtime: Runtime, person: Person, session_id: int) -> str:
    """A single-use ticket for that desktop's sound, or PolicyForbids."""
    with runtime.database.transaction() as db:
        session = mine(db, person, session_id)
        _must_be_own_and_ready(person, session)
        must_be_heard(policy_of(db, runtime.settings, session))
        events.write_down(db, "session:ticket", session.id, actor=person.name, way=Way.SOUND)
        return tickets.issue(db, session.id, person, runtime.settings.gateway.ticket_seconds, Way.SOUND)


def ticket(runtime: Runtime, person: Person, session_id: int) -> str:
    """A single-use ticket for the browser desktop of the person's own ready session."""
    with runtime.database.transaction() as db:
        session = mine(db, person, session_id)
        _must_be_own_and_ready(person, session)
        token = tickets.issue(db, session.id, person, runtime.settings.gateway.ticket_seconds)
        events.write_down(db, "session:ticket", session.id, actor=person.name)
        mark(db, session, "ticket")
        return token


@dataclass(frozen=True)
class Desktop:
    """Where a session's desktop is, for those who carry its bytes. `password` never leaves the broker's side.

    `user` is who opens it: its owner, or a guest, who comes by a share. `account` is the one on the machine: of who
    launched it, also where it was handed over since. `policy` is what this connection may do.
    """

    session_id: int
    user_id: int
    user: str
    sign_in_id: int
    environment: str
    machine: str
    address: str
    host_key: str
    password: str
    account: str = ""
    share_id: int | None = None
    view_only: bool = False
    recorded: bool = False
    policy: Policy = NOTHING
    ssh_port: int = SSH_PORT


def redeem(db: Session, settings: Settings, person: Person, token: str, way: Way = Way.BROWSER) -> Desktop:
    """Use the person's ticket up; the desktop that it opens, or TicketRefused, SessionNotReady or PolicyForbids."""
    used = tickets.redeem(db, person, token, way)
    found = _opened_by(db, settings, person, used)
    if way is Way.SOUND:
        must_be_heard(found.policy, recorded=found.recorded)
    return found


def _opened_by(db: Session, settings: Settings, person: Person, used: Ticket) -> Desktop:
    session = db.get_one(UserSession, used.session_id)
    if used.share_id is not None:
        return _desktop_of_guest(db, settings, person, session, used)
    _must_be_own_and_ready(person, session)
    return desktop_of(db, settings, session, used.sign_in_id)


def redeem_from_file(db: Session, settings: Settings, token: str, way: Way) -> Desktop:
    """Use a connection file's ticket up, whoever shows it; the desktop that it opens, or an error as of redeem()."""
    used = tickets.redeem_from_file(db, token, way)
    user = db.get_one(User, used.user_id)  # held: it is looked for again
    session = db.get_one(UserSession, used.session_id)
    _must_be_own_and_ready(person_of(user, used.sign_in_id), session)
    return desktop_of(db, settings, session, used.sign_in_id)


def _desktop_of_guest(db: Session, settings: Settings, person: Person, session: UserSession, used: Ticket) -> Desktop:
    share = db.get_one(Share, used.share_id)
    if share.user_id != person.user_id or not share.stands:
        raise TicketRefused("This desktop is no longer shared with you.", hint="Ask its owner to share it again.")
    events.changed(db, "share", share.id, session.user_id)  # the owner's pages show who is there
    found = desktop_of(db, settings, session, used.sign_in_id)
    return replace(
        found,
        user_id=person.user_id,
        user=person.name,
        share_id=share.id,
        view_only=not share.control,
        recorded=share.recorded,
        policy=policy_of_guest(db, settings, person, session),
    )


def policy_of_guest(db: Session, settings: Settings, person: Person, session: UserSession) -> Policy:
    """What the guest is allowed, and the owner as well."""
    own = applying(settings, session.environment, person.name, person.groups)
    return strictest([policy_of(db, settings, session), own])


def policy_of(db: Session, settings: Settings, session: UserSession) -> Policy:
    """What its owner may do at the session's desktop, and whose account it has."""
    return of_all(settings, session.environment, (db.get_one(User, session.user_id), account_of(db, session)))


def desktop(runtime: Runtime, person: Person, session_id: int) -> Desktop:
    """The person's own ready desktop, for connection files."""
    with runtime.database.reading() as db:
        return own_desktop(db, runtime.settings, person, session_id)


def own_desktop(db: Session, settings: Settings, person: Person, session_id: int) -> Desktop:
    """The person's own ready desktop, in the transaction of `db`."""
    session = mine(db, person, session_id)
    _must_be_own_and_ready(person, session)
    return desktop_of(db, settings, session, person.sign_in_id or 0)


def _must_be_own_and_ready(person: Person, session: UserSession) -> None:
    if session.user_id != person.user_id:
        raise Forbidden("Only its owner may open this desktop.", hint="Its owner can share it with you.")
    if session.state != S.READY:
        raise SessionNotReady(
            f"Session {session.id} is {session.state}; it has no desktop to open.",
            hint="Wait until it is ready." if session.state in ACTIVE else "Launch a new one.",
        )


def desktop_of(db: Session, settings: Settings, session: UserSession, sign_in_id: int) -> Desktop:
    """The session's desktop for this sign-in, or SessionNotReady."""
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
        account=account_of(db, session).name,
        policy=policy_of(db, settings, session),
        ssh_port=machine.ssh_port,
    )


def account_of(db: Session, session: UserSession) -> User:
    """Whose account and home the session has on its machine: its owner's, or of who launched it and handed it over."""
    return db.get_one(User, session.account_id or session.user_id)
