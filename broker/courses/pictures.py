"""Small pictures of the desktops in a course, for its teachers alone.

One look over RFB serves all pages that show the desktop within a few seconds. Whether somebody may see it is asked
each time: who withdraws the consent is seen no longer, from the next picture on.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO

from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from agents.protocol import VNC_DOOR
from broker import events
from broker.configuration import doors
from broker.courses import rules, service
from broker.courses.models import Seat
from broker.courses.rules import Look
from broker.database import now
from broker.errors import MachineFault, MachineUnreachable, NotFound
from broker.events import Event
from broker.identity.service import Person
from broker.pools.models import Machine
from broker.rfb import Frame
from broker.runtime import Runtime
from broker.sessions.models import ACTIVE, SessionState, UserSession

SIZE = (384, 240)
PATIENCE = 3.0  # seconds for one look, all in all
WATCHED_EVERY = timedelta(hours=1)


@dataclass
class _Desk:
    """The last look at one session's desktop; `picture` is a JPEG, or None where it could not be seen."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    looked_at: float = float("-inf")
    picture: bytes | None = None


class Pictures:
    """The looks of one process; many may ask at once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._desks: dict[int, _Desk] = {}
        self._lock = threading.Lock()

    def of(self, person: Person, course_id: int, user_id: int) -> bytes:
        """A JPEG of this user's desktop in the course; NotFound where the person may not see one."""
        session, machine = self._may_see(person, course_id, user_id)
        note_watching(self._runtime, person, course_id)
        desk = self._desk(session.id)
        with desk.lock:
            if time.monotonic() - desk.looked_at >= self._runtime.settings.courses.picture_seconds:
                desk.picture = _look(self._runtime, machine, session.password or "")
                desk.looked_at = time.monotonic()
            if desk.picture is None:
                raise MachineUnreachable("This desktop cannot be seen just now.", hint="It is tried again by itself.")
            return desk.picture

    def _may_see(self, person: Person, course_id: int, user_id: int) -> tuple[UserSession, Machine]:
        with self._runtime.database.reading() as db:
            found = service.taught(db, self._runtime.settings, person, course_id)
            seat = db.get(Seat, (course_id, user_id))
            session = _session(db, found.reservation.id, user_id)
            look = Look(
                teacher=person.name in found.course.teachers,
                when=found.when,
                accepted=seat is not None and seat.accepted_at is not None,
                pictures=seat is not None and seat.pictures,
                ready=session is not None and session.state == SessionState.READY,
                of_course=session is not None and session.reservation_id == found.reservation.id,
            )
            machine = db.get(Machine, session.machine_id) if session is not None and session.machine_id else None
        reason = rules.refused(look)
        if reason is not None or session is None or machine is None:
            raise NotFound(f"There is no picture: {reason or 'there is no desktop to see'}.")
        return session, machine

    def _desk(self, session_id: int) -> _Desk:
        """The session's, and none of those that nobody has looked at for long."""
        with self._lock:
            old = time.monotonic() - 60 - self._runtime.settings.courses.picture_seconds
            stale = [id_ for id_, desk in self._desks.items() if desk.looked_at < old and not desk.lock.locked()]
            for id_ in stale:
                del self._desks[id_]
            return self._desks.setdefault(session_id, _Desk())


def _session(db: Session, reservation_id: int, user_id: int) -> UserSession | None:
    mine = (UserSession.user_id == user_id, UserSession.reservation_id == reservation_id, UserSession.state.in_(ACTIVE))
    return db.scalar(select(UserSession).where(*mine).order_by(UserSession.id).limit(1))


def _look(runtime: Runtime, machine: Machine, password: str) -> bytes | None:
    where = (runtime.settings.state_dir, machine.name, machine.address or "", VNC_DOOR)
    try:
        return _jpeg(doors.look(*where, password, timeout=PATIENCE))
    except (MachineFault, OSError):
        return None


def _jpeg(frame: Frame) -> bytes:
    picture = Image.frombuffer("RGB", (frame.width, frame.height), frame.pixels, "raw", "BGRX", 0, 1)
    picture.thumbnail(SIZE, Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = BytesIO()
    picture.save(file, "JPEG", quality=70)
    return file.getvalue()


def note_watching(runtime: Runtime, person: Person, course_id: int) -> None:
    """Write down that this teacher watches the course: once an hour."""
    watching = (Event.action == "course:watch", Event.subject == str(course_id), Event.actor == person.name)
    recent = select(Event.id).where(Event.kind == "course", *watching, Event.at > now() - WATCHED_EVERY).limit(1)
    with runtime.database.reading() as db:
        if db.scalar(recent) is not None:
            return
    with runtime.database.transaction() as db:
        if db.scalar(recent) is None:
            events.record(db, "course:watch", course_id, actor=person.name)
