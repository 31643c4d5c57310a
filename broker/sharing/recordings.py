"""What support saw, as timestamped RFB: one file for each window, of the time while it was open, and of nothing else.

The form is rfbproxy's (FBS 001.000): blocks of a length, the bytes, padding to four, and milliseconds since the begin.
The bytes are what a viewer is told from the handshake on, so that any viewer of RFB can show them again.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.connections.models import Connection, Share, ShareKind
from broker.database import now
from broker.errors import NotFound
from broker.identity.models import User
from broker.identity.rights import Right
from broker.identity.service import Person
from broker.sessions.models import UserSession
from broker.settings import Settings

MAGIC = b"FBS 001.000\n"
RECORDED = (ShareKind.SUPPORT, ShareKind.BREAK_GLASS)
LARGEST = 256 * 1024 * 1024  # bytes; the window is closed then, and what it is opened with again is the next file


class Full(Exception):
    """Raised when a recording is as large as one may be."""


class Recorder:
    """Writes one recording as it happens. A failure is the caller's, who must not go on unrecorded."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._begun, self._size = file, time.monotonic(), 0
        self._write(MAGIC)

    def shown(self, data: bytes) -> None:
        """This was shown now. Raises Full, and OSError where it cannot be written."""
        milliseconds = round((time.monotonic() - self._begun) * 1000)
        self._write(struct.pack(">I", len(data)) + data + bytes(-len(data) % 4) + struct.pack(">I", milliseconds))

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > LARGEST:
            raise Full("the recording of this window is full")
        self._file.write(data)


def begin(settings: Settings, connection_id: int) -> Recorder:
    """Begin the recording of this connection; only the broker's own account may read it."""
    folder = settings.recordings_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Recorder((folder / _name(connection_id)).open("xb", buffering=0))


@dataclass(frozen=True)
class Recording:
    """One recorded window."""

    id: int
    session: int
    full_name: str
    kind: ShareKind
    control: bool
    reason: str
    opened_at: datetime
    closed_at: datetime | None
    size: int


def of_sessions(db: Session, settings: Settings, session_ids: Sequence[int]) -> dict[int, list[Recording]]:
    """By session, the recordings that are there still, the first one first."""
    found: dict[int, list[Recording]] = {}
    query = (
        select(Connection, Share, User.full_name)
        .join(Share, Share.id == Connection.share_id)
        .join(User, User.id == Connection.user_id)
        .where(Connection.session_id.in_(session_ids), Share.kind.in_(RECORDED))
        .order_by(Connection.id)
    )
    for connection, share, name in db.execute(query):
        with suppress(FileNotFoundError):
            size = (settings.recordings_dir / _name(connection.id)).stat().st_size
            found.setdefault(connection.session_id, []).append(
                Recording(
                    id=connection.id,
                    session=connection.session_id,
                    full_name=name,
                    kind=ShareKind(share.kind),
                    control=not connection.view_only,
                    reason=share.reason,
                    opened_at=connection.opened_at,
                    closed_at=connection.closed_at,
                    size=size,
                )
            )
    return found


def one(db: Session, settings: Settings, person: Person, recording_id: int) -> tuple[Recording, Path]:
    """A recording and its file, for the session's owner and for who may read the audit log; else NotFound."""
    session_id = db.scalar(select(Connection.session_id).where(Connection.id == recording_id))
    session = db.get(UserSession, session_id) if session_id is not None else None
    if session is not None and (session.user_id == person.user_id or person.may(Right.AUDIT)):
        for recording in of_sessions(db, settings, [session.id]).get(session.id, []):
            if recording.id == recording_id:
                return recording, settings.recordings_dir / _name(recording_id)
    raise NotFound(f"There is no recording {recording_id} for you.", hint="It may have been removed after its time.")


def forget_old(settings: Settings) -> None:
    """Remove the recordings of this host that are older than the settings keep them."""
    oldest = (now() - timedelta(days=settings.recordings.keep_days)).timestamp()
    for file in settings.recordings_dir.glob("*.fbs"):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < oldest:
                file.unlink()


def _name(connection_id: int) -> str:
    return f"{connection_id}.fbs"
