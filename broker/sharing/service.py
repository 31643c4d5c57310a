"""What owners do to share their desktops, and what their guests do. One transaction each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from broker import events
from broker.connections import tickets
from broker.connections.models import Share, ShareKind, Way, share_stands
from broker.connections.policy import must_be_heard
from broker.database import hold, now
from broker.errors import Forbidden, InvalidRequest, NotFound, SessionNotReady, WrongState
from broker.identity.models import User
from broker.identity.rights import Right, Role
from broker.identity.service import Person, digest
from broker.runtime import Runtime
from broker.sessions import service as sessions
from broker.sessions.models import SessionState, UserSession
from broker.sharing import rules

K = ShareKind


def with_user(
    runtime: Runtime, person: Person, session_id: int, name: str, *, control: bool, lasts: timedelta
) -> Share:
    """Share the person's own ready desktop with the user of that name.

    There is one share for each guest: the same again gives it this end, and this control, from this very moment.
    """
    with runtime.database.transaction() as db:
        session = own_ready(db, person, session_id)
        guest = db.scalar(select(User).where(User.name == name, User.role != Role.SERVICE))
        if guest is None:
            raise NotFound(f"There is no user {name[:40]!r}.", hint="Users exist from their first sign-in on.")
        if guest.id == person.user_id:
            raise InvalidRequest("This desktop is your own.", hint="Name somebody else.")
        mine = (Share.session_id == session.id, Share.kind == K.NAMED, Share.user_id == guest.id)
        share = db.scalar(select(Share).where(*mine, share_stands()))
        if share is None:
            share = add(db, session, K.NAMED, made_by_id=person.user_id, user_id=guest.id, control=control, lasts=lasts)
        share.expires_at, share.control = rules.end_of(lasts, now(), session.expires_at), control
        note(db, "made", share, session, person.name, guest=guest.name, control=control)
        return share


def by_link(runtime: Runtime, person: Person, session_id: int, *, control: bool, lasts: timedelta) -> tuple[Share, str]:
    """A link to the person's own ready desktop, and its secret, which is told only now."""
    token = secrets.token_urlsafe(24)
    with runtime.database.transaction() as db:
        session = own_ready(db, person, session_id)
        share = add(
            db, session, K.LINK, made_by_id=person.user_id, token_hash=digest(token), control=control, lasts=lasts
        )
        note(db, "link", share, session, person.name, control=control)
        return share, token


def withdraw(runtime: Runtime, person: Person, session_id: int, share_id: int) -> None:
    """Withdraw one share; a link with all who came by it. Gateways close what is open. Twice is once."""
    with runtime.database.transaction() as db:
        session = own(db, person, session_id)
        if session.id != db.scalar(select(Share.session_id).where(Share.id == share_id)):
            raise NotFound(f"Session {session_id} has no share {share_id}.", hint="Look at its list of shares.")
        withdraw_where(db, session, person, or_(Share.id == share_id, Share.link_id == share_id))


def withdraw_all(runtime: Runtime, person: Person, session_id: int) -> None:
    """Withdraw every share of the session, links as well. Twice is once."""
    with runtime.database.transaction() as db:
        session = own(db, person, session_id)
        withdraw_where(db, session, person, Share.session_id == session.id)


def withdraw_where(db: Session, session: UserSession, person: Person, which: ColumnElement[bool]) -> None:
    """Withdraw these shares of the session, in the transaction of `db`."""
    hold_shares(db, session.id)
    for share in db.scalars(select(Share).where(which, Share.withdrawn_at.is_(None)).with_for_update()):
        share.withdrawn_at, share.withdrawn_by_id = now(), person.user_id
        note(db, "withdrawn", share, session, person.name)


def invited(db: Session, token: str) -> tuple[Share, UserSession]:
    """The link of this secret, and its session; NotFound where it opens nothing any more."""
    share = db.scalar(select(Share).where(Share.token_hash == digest(token), share_stands()))
    session = db.get(UserSession, share.session_id) if share is not None else None
    if share is None or session is None or session.state != SessionState.READY:
        raise NotFound("This link is not good any more.", hint="Ask who sent it to share the desktop again.")
    return share, session


def join(runtime: Runtime, person: Person, token: str) -> Share:
    """Become a guest by a link's secret, having read that one is seen there. Twice is once.

    Whom the owner has withdrawn it from is not let in by the same link again.
    """
    with runtime.database.transaction() as db:
        link, session = invited(db, token)
        hold_shares(db, session.id)
        db.refresh(link)
        if not link.stands:
            raise NotFound("This link is not good any more.", hint="Ask who sent it to share the desktop again.")
        if session.user_id == person.user_id:
            raise WrongState("This is a link to your own desktop.", hint="Open it from the portal, and send the link.")
        before = db.scalars(select(Share).where(Share.link_id == link.id, Share.user_id == person.user_id)).all()
        if standing := next((share for share in before if share.stands), None):
            return standing
        if any(share.withdrawn_by_id not in (None, person.user_id) for share in before):
            raise Forbidden("Its owner shares this desktop with you no longer.", hint="Ask who sent the link.")
        share = add(db, session, K.JOINED, made_by_id=link.made_by_id, user_id=person.user_id, link=link)
        note(db, "joined", share, session, person.name, control=share.control)
        return share


def leave(runtime: Runtime, person: Person, share_id: int) -> None:
    """Give one's own share back; what was opened by it closes. Twice is once."""
    with runtime.database.transaction() as db:
        share, session = of_guest(db, person, share_id)
        if share.withdrawn_at is None:
            share.withdrawn_at, share.withdrawn_by_id = now(), person.user_id
            note(db, "left", share, session, person.name)


def of_guest(db: Session, person: Person, share_id: int) -> tuple[Share, UserSession]:
    """This person's own share and its session, also when it is over; else NotFound, as if there were none."""
    share = db.get(Share, share_id)
    if share is None or share.user_id != person.user_id:
        raise NotFound(f"Nothing is shared with you as {share_id}.", hint="Look at what is shared with you.")
    return share, db.get_one(UserSession, share.session_id)


def ticket(runtime: Runtime, person: Person, share_id: int, way: Way = Way.BROWSER) -> str:
    """A single-use ticket for the browser, by one's own share: for the desktop, or for its sound, or PolicyForbids."""
    with runtime.database.transaction() as db:
        share, session = of_guest(db, person, share_id)
        if not share.stands:
            raise NotFound("This desktop is no longer shared with you.", hint="Ask its owner to share it again.")
        if session.state != SessionState.READY:
            raise SessionNotReady("The desktop that was shared with you is over.", hint="Ask its owner.")
        if share.recorded:
            person.must(Right.JOIN)  # who has lost the role since has lost this, too
        if way is Way.SOUND:
            must_be_heard(sessions.policy_of_guest(db, runtime.settings, person, session), recorded=share.recorded)
        by = {"share": share.id} | ({"way": way} if way is Way.SOUND else {})
        events.write_down(db, "session:ticket", session.id, actor=person.name, **by)
        return tickets.issue(db, session.id, person, runtime.settings.gateway.ticket_seconds, way, share_id=share.id)


def own(db: Session, person: Person, session_id: int) -> UserSession:
    """The person's own session; nobody else shares it, whatever their role."""
    session = sessions.mine(db, person, session_id)
    if session.user_id != person.user_id:
        raise Forbidden("Only its owner shares a desktop.", hint="Ask the owner to.")
    return session


def own_ready(db: Session, person: Person, session_id: int) -> UserSession:
    """The person's own ready session, alone in the hands of this transaction."""
    session = own(db, person, session_id)
    hold_shares(db, session.id)
    db.refresh(session)
    own(db, person, session_id)  # it may have been handed over meanwhile
    if session.state != SessionState.READY:
        raise SessionNotReady(
            f"Session {session.id} is {session.state}; only a ready one can be shared.", hint="Wait until it is ready."
        )
    return session


def add(
    db: Session,
    session: UserSession,
    kind: ShareKind,
    *,
    lasts: timedelta = timedelta(),
    link: Share | None = None,
    full: bool = True,
    **values: Any,
) -> Share:
    """Write a share down, with the end and the control of the link by which the guest came, if by one.

    OverQuota where there are too many, unless that does not count (`full`).
    """
    if full:
        rules.must_have_room(len(standing(db, session.id)))
    if link is not None:
        values |= {"link_id": link.id, "control": link.control, "expires_at": link.expires_at}
    else:
        values["expires_at"] = rules.end_of(lasts, now(), session.expires_at)
    share = Share(session_id=session.id, kind=kind, **values)
    db.add(share)
    db.flush()
    return share


def standing(db: Session, session_id: int) -> Sequence[Share]:
    """The session's shares and links that stand, the oldest first."""
    return db.scalars(select(Share).where(Share.session_id == session_id, share_stands()).order_by(Share.id)).all()


def note(db: Session, action: str, share: Share, session: UserSession, actor: str, **more: Any) -> None:
    """Write it down, and let the owner's and the guest's pages know."""
    detail = {"session": session.id, "kind": share.kind, **more}
    events.record(db, f"share:{action}", share.id, actor=actor, owner=session.user_id, **detail)
    if share.user_id is not None:
        events.changed(db, "share", share.id, share.user_id)


def hold_shares(db: Session, session_id: int) -> None:
    """So that of two at once the second one sees what the first one did."""
    hold(db, f"shares of session {session_id}")
