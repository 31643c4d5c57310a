"""The launches that were made, for those who forecast the next."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select

from broker.database import now
from broker.runtime import Runtime
from broker.sessions.models import UserSession

REMEMBERED = timedelta(weeks=5)
OVERLAP = 1000  # ids that are looked at again: of two launches at once, the later number may be written first


class LaunchLog:
    """Reads each launch once."""

    def __init__(self, runtime: Runtime) -> None:
        """Nothing is read yet."""
        self._runtime = runtime
        self._newest = 0
        self._seen: set[int] = set()

    def fresh(self) -> list[tuple[str, datetime]]:
        """The pool and the moment of each launch since the last call; of five weeks at the first.

        Who has a reservation's seat is expected by the reservation, and by nothing else.
        """
        query = select(UserSession.id, UserSession.pool, UserSession.requested_at).where(
            UserSession.id > self._newest - OVERLAP,
            UserSession.requested_at > now() - REMEMBERED,
            UserSession.pool.is_not(None),
            UserSession.reservation_id.is_(None),
        )
        with self._runtime.database.reading() as db:
            rows = [row for row in db.execute(query) if row.id not in self._seen]
        self._newest = max((row.id for row in rows), default=self._newest)
        self._seen = {id_ for id_ in self._seen | {row.id for row in rows} if id_ > self._newest - OVERLAP}
        return [(row.pool, row.requested_at) for row in rows]
