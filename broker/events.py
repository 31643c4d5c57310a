"""What happened: audit rows in the same transaction; word to live pages after the commit.

Action names read `subject:verb` or `subject:state`, as `session:ready` or `pool:resize`. Who hears a notice
fetches the thing afresh: a notice carries an id, never a state.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from broker.database import Base, Change, note, now
from broker.database import changed as changed

log = structlog.get_logger()

SYSTEM = "system"


class Event(Base):
    """One line of the audit log."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_subject", "kind", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)


def record(
    db: Session,
    action: str,
    subject: int | str,
    *,
    actor: str = SYSTEM,
    owner: int | None = None,
    **detail: Any,
) -> None:
    """Write the audit row of `action` on `subject`, and note the change for live pages."""
    kind = action.split(":")[0]
    note(db, Event, actor=actor, action=action, kind=kind, subject=str(subject), detail=detail)
    changed(db, kind, subject, owner)


class LivePages:
    """Tells open pages what changed, through Socket.IO's Redis queue.

    A user's pages hear of the user's own things, administrators' of everything. Redis may be away: pages then
    notice by their own re-fetching, so a failure is logged and counted, never raised.
    """

    def __init__(self, redis_url: str, channel: str) -> None:
        import socketio

        self._manager = socketio.RedisManager(redis_url, channel=channel, write_only=True)

    def __call__(self, changes: frozenset[tuple[Change, int | None]]) -> None:
        for (kind, id_), owner in changes:
            notice = {"kind": kind, "id": id_}
            self._manager.emit("changed", notice, room="admins")
            if owner is not None:
                self._manager.emit("changed", notice, room=f"user-{owner}")
            elif kind in ("pool", "machine"):
                self._manager.emit("changed", {"kind": "availability", "id": 0}, room="everyone")
