"""Openings and closings of desktops, as the audit log has them, whichever gateway carries them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from broker import events
from broker.connections.models import Connection
from broker.database import now
from broker.events import Origin
from broker.identity.models import User


def note_opened(db: Session, row: Connection, user: str, not_allowed: Sequence[str]) -> None:
    """The user opened the session's desktop; `row` has its id. The policy does not allow these things to it."""
    detail = {"way": str(row.way), "connection": row.id, "sign_in": row.sign_in_id, "not_allowed": not_allowed}
    if row.share_id is not None:
        detail |= {"share": row.share_id, "view_only": row.view_only}
    events.write_down(db, "session:connect", row.session_id, actor=user, **detail)


def close(db: Session, which: ColumnElement[bool]) -> set[int]:
    """Write down that these connections have ended; the shares by which guests had opened some of them."""
    closed = db.execute(
        update(Connection)
        .where(which)
        .values(closed_at=now())
        .returning(Connection.id, Connection.session_id, Connection.user_id, Connection.client, Connection.share_id)
        .execution_options(synchronize_session=False)
    ).all()
    names = _names(db, [row.user_id for row in closed])
    for row in closed:
        with events.coming(Origin(client=row.client or None)):
            user = names.get(row.user_id, events.SYSTEM)
            events.write_down(db, "session:disconnect", row.session_id, actor=user, connection=row.id)
    return {row.share_id for row in closed if row.share_id is not None}


def _names(db: Session, ids: Sequence[int]) -> dict[int, str]:
    return {id_: name for id_, name in db.execute(select(User.id, User.name).where(User.id.in_(ids)))}
