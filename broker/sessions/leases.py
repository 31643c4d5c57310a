"""How long a session lives, and letting it live longer."""

from __future__ import annotations

from datetime import datetime, timedelta

from broker import events
from broker.database import now
from broker.errors import InvalidRequest, LeaseTooLong, SessionNotReady
from broker.identity.rights import Right
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.sessions import rules, service
from broker.sessions.models import ACTIVE, SessionState, UserSession
from broker.settings import Settings

S = SessionState


def first_end(settings: Settings, session: UserSession) -> datetime:
    """When a session that is ready now ends, unless it is extended."""
    ends = now() + lease_of(settings, session.environment)
    return ends if session.bound_until is None else min(ends, session.bound_until)


def lease_of(settings: Settings, environment: str) -> timedelta:
    """How long a new session of this environment lives."""
    own = settings.environments[environment].lease_hours if environment in settings.environments else None
    return timedelta(hours=own or settings.leases.default_hours)


def extend(runtime: Runtime, person: Person, session_id: int, hours: float | None = None) -> UserSession:
    """Let the lease run `hours` longer (the settings' step where None), within the longest lease."""
    leases = runtime.settings.leases
    wished = leases.extend_hours if hours is None else hours
    if not 0 < wished <= leases.maximum_hours:
        raise InvalidRequest(f"A lease cannot be extended by {wished:g} hours.", hint="Give a number above 0.")
    with runtime.database.transaction() as db:
        session = service.mine(db, person, session_id, others=Right.OPERATE)
        if session.state != S.READY or session.expires_at is None:
            raise SessionNotReady(
                f"Session {session.id} is {session.state}; only a ready one can be extended.",
                hint="Wait until it is ready." if session.state in ACTIVE else "Launch a new one.",
            )
        started = session.ready_at or session.requested_at
        longer = rules.extended(session.expires_at, started, wished, leases.maximum_hours)
        if session.bound_until is not None and longer > session.bound_until:
            left = (session.bound_until - session.expires_at).total_seconds() / 3600
            raise LeaseTooLong(
                f"This session ends with its course; it can be extended by {left:.1f} hours at most.",
                hint="Save your work in your home before.",
                hours_left=round(left, 2),
            )
        session.expires_at = longer
        session.warned_minutes = None
        events.record(db, "session:extend", session.id, actor=person.name, owner=session.user_id, hours=wished)
        return session
