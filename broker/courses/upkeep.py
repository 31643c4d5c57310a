"""Clears courses away when they are over. Sessions that end with a course are warned and ended as by any lease."""

from __future__ import annotations

from sqlalchemy import or_, select

from broker import metrics
from broker.courses import service
from broker.courses.models import Course
from broker.database import now
from broker.pools.models import Reservation
from broker.runtime import Runtime


def tend(runtime: Runtime) -> None:
    """One pass, by the manager; safe to repeat."""
    over = or_(Reservation.ends_at <= now(), Reservation.cancelled_at.is_not(None))
    query = select(Course.id).join(Reservation, Reservation.id == Course.reservation_id)
    with runtime.database.reading() as db:
        ids = list(db.scalars(query.where(Course.over_at.is_(None), over)))
    for course_id in ids:
        with metrics.swallowed("courses"), runtime.database.transaction() as db:
            service.clear_away(db, db.get_one(Course, course_id))
