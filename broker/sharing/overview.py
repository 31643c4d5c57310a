"""Shares as people see them: their own guests, and what is shared with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from broker.connections import policy
from broker.connections.models import Connection, Share, ShareKind, share_stands
from broker.database import now
from broker.identity.models import User
from broker.identity.service import Person
from broker.sessions.models import SessionState, UserSession, runs_as
from broker.settings import Policy, Settings
from broker.sharing import rules


@dataclass(frozen=True)
class Guest:
    """One share as the session's owner sees it, or a link, nobody's; `here_since` while its desktop is open."""

    id: int
    kind: ShareKind
    user: str | None
    full_name: str | None
    control: bool
    reason: str
    created_at: datetime
    expires_at: datetime
    here_since: datetime | None


@dataclass(frozen=True)
class SharedDesktop:
    """A desktop that is shared with somebody, as the guest sees it; `over` says why it cannot be opened any more."""

    id: int
    kind: ShareKind
    title: str
    icon: str
    owner: str
    control: bool
    expires_at: datetime
    seconds_left: float
    over: str | None
    policy: Policy
    not_allowed: list[str]


def guests(db: Session, session_id: int) -> list[Guest]:
    """With whom the session is shared now, the oldest first."""
    return _guests(db, Share.session_id == session_id, share_stands())


def guest(db: Session, share_id: int) -> Guest:
    """This share, whether it stands still or not."""
    return _guests(db, Share.id == share_id)[0]


def here(db: Session, session_ids: Sequence[int]) -> dict[int, list[Guest]]:
    """By session, who has its desktop open now; an administrator who did not ask is shown from the first moment."""
    found: dict[int, list[Guest]] = {}
    of = select(Share.id, Share.session_id).where(Share.session_id.in_(session_ids))
    sessions = {share_id: session_id for share_id, session_id in db.execute(of)}
    for one in _guests(db, Share.session_id.in_(session_ids), share_stands()):
        if one.here_since is not None or one.kind is ShareKind.BREAK_GLASS:
            found.setdefault(sessions[one.id], []).append(one)
    return found


def _guests(db: Session, *which: ColumnElement[bool]) -> list[Guest]:
    opened = (
        select(Connection.share_id, func.min(Connection.opened_at).label("since"))
        .where(Connection.closed_at.is_(None), Connection.share_id.is_not(None))
        .group_by(Connection.share_id)
        .subquery()
    )
    query = (
        select(Share, User, opened.c.since)
        .outerjoin(User, User.id == Share.user_id)
        .outerjoin(opened, opened.c.share_id == Share.id)
        .where(*which)
        .order_by(Share.id)
    )
    return [_guest(share, user, since) for share, user, since in db.execute(query)]


def _guest(share: Share, user: User | None, since: datetime | None) -> Guest:
    return Guest(
        id=share.id,
        kind=ShareKind(share.kind),
        user=user.name if user else None,
        full_name=user.full_name if user else None,
        control=share.control,
        reason=share.reason,
        created_at=share.created_at,
        expires_at=share.expires_at,
        here_since=since,
    )


@dataclass(frozen=True)
class Visit:
    """Support, or an administrator, could open a session's desktop from one moment to another."""

    full_name: str
    kind: ShareKind
    control: bool
    reason: str
    since: datetime
    until: datetime


def visits(db: Session, session_ids: Sequence[int]) -> dict[int, list[Visit]]:
    """By session, who of support and administrators could open its desktop, the first one first."""
    found: dict[int, list[Visit]] = {}
    query = (
        select(Share, User.full_name, UserSession.ended_at)
        .join(User, User.id == Share.user_id)
        .join(UserSession, UserSession.id == Share.session_id)
        .where(Share.session_id.in_(session_ids), Share.kind.in_((ShareKind.SUPPORT, ShareKind.BREAK_GLASS)))
        .order_by(Share.id)
    )
    for share, name, ended_at in db.execute(query):
        until = min(end for end in (share.withdrawn_at, share.expires_at, ended_at) if end is not None)
        kind, control, reason = ShareKind(share.kind), share.control, share.reason
        found.setdefault(share.session_id, []).append(Visit(name, kind, control, reason, share.created_at, until))
    return found


def shared_with(db: Session, settings: Settings, person: Person) -> list[SharedDesktop]:
    """What is shared with this person and can be opened, the newest first."""
    open_now = (Share.user_id == person.user_id, share_stands(), UserSession.state == SessionState.READY)
    return _desktops(db, settings, *open_now)


def shared_desktop(db: Session, settings: Settings, share: Share) -> SharedDesktop:
    """This share as its guest sees it, over or not."""
    return _desktops(db, settings, Share.id == share.id)[0]


def _desktops(db: Session, settings: Settings, *which: ColumnElement[bool]) -> list[SharedDesktop]:
    owner, guest, account = aliased(User), aliased(User), aliased(User)
    query = (
        select(Share, UserSession, owner, guest, account)
        .join(UserSession, UserSession.id == Share.session_id)
        .join(owner, owner.id == UserSession.user_id)
        .join(guest, guest.id == Share.user_id)
        .join(account, runs_as(account))
        .where(*which)
        .order_by(Share.id.desc())
    )
    return [_desktop(settings, *row) for row in db.execute(query)]


def _desktop(
    settings: Settings, share: Share, session: UserSession, owner: User, guest: User, account: User
) -> SharedDesktop:
    environment = settings.environments.get(session.environment)
    ready = session.state == SessionState.READY
    allowed = policy.of_all(settings, session.environment, (owner, guest, account))
    return SharedDesktop(
        id=share.id,
        kind=ShareKind(share.kind),
        title=environment.title if environment else session.environment,
        icon=environment.icon if environment else "display",
        owner=owner.full_name,
        control=share.control,
        expires_at=share.expires_at,
        seconds_left=max(0.0, round((share.expires_at - now()).total_seconds(), 1)),
        over=None if ready and share.stands else _why_over(share, owner, session_ready=ready),
        policy=allowed,
        not_allowed=policy.in_words(allowed),
    )


def _why_over(share: Share, owner: User, *, session_ready: bool) -> str:
    return rules.why_over(
        withdrawn=share.withdrawn_at is not None,
        by_guest=share.withdrawn_by_id == share.user_id,
        session_ready=session_ready,
        owner=owner.full_name,
    )
