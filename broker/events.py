"""What happened: audit rows in the same transaction; word to live pages after the commit.

Action names read `subject:verb` or `subject:state`, as `session:ready` or `pool:resize`. Who hears a notice
fetches the thing afresh: a notice carries an id, never a state.

Where an action came from is not passed through every call: the edges (a request, a gateway's connection, a command)
say it once, and `record` reads it there. What happens in threads of the broker's own came from nowhere.

The table only grows. Each row waits in a queue, by the database's own trigger, until its seal chains it to the rows
before it (broker.audit).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from broker import append_only
from broker.database import Base, Change, note, now
from broker.database import changed as changed

log = structlog.get_logger()

SYSTEM = "system"
NOBODY = "nobody"  # who tried, and did not prove to be anybody


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
    client: Mapped[str | None] = mapped_column(String(64))
    via: Mapped[str | None] = mapped_column(String(64))


class Unsealed(Base):
    """A line that waits for its seal. The database writes it with the line, by its own clock."""

    __tablename__ = "unsealed_events"

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    since: Mapped[datetime]


class Seal(Base):
    """A line's place in the chain, and the hash over it and all before it. The order is that of the sealing: ids of
    transactions that run at the same time become visible out of order."""

    __tablename__ = "event_seals"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[int] = mapped_column(unique=True)
    hash: Mapped[str] = mapped_column(String(64))


append_only.protect(Event, "id")
append_only.protect(Seal, "seq", "event_id")
append_only.queue(Event, Unsealed)


@dataclass(frozen=True)
class Origin:
    """Where actions come from: the client's address, and the sign-in, token or command. Of a command, whoever gave it
    is the actor, also of what is done in an account's name."""

    client: str | None = None
    via: str | None = None
    actor: str = SYSTEM


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def came_from(client: str | None) -> None:
    """What is done in this context from now on comes from this address."""
    _origin.set(replace(_origin.get(), client=client))


def came_by(via: str) -> None:
    """And by this: "browser sign-in 7", "token 3"."""
    _origin.set(replace(_origin.get(), via=via))


def came_from_nowhere() -> None:
    """What is done in this context from now on is nobody's request."""
    _origin.set(_NOWHERE)


@contextmanager
def coming(origin: Origin) -> Iterator[None]:
    """What the block does comes from there."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


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
    write_down(db, action, subject, actor=actor, **detail)
    changed(db, action.split(":")[0], subject, owner)


def write_down(db: Session, action: str, subject: int | str, *, actor: str = SYSTEM, **detail: Any) -> None:
    """Write the audit row alone: of what no page shows."""
    origin = _origin.get()
    note(
        db,
        Event,
        actor=actor if origin.actor == SYSTEM else origin.actor,
        action=action,
        kind=action.split(":")[0],
        subject=str(subject),
        detail=detail,
        client=origin.client,
        via=origin.via,
    )


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
