"""Which of several processes is at work: a lease in the database, taken and renewed by one statement."""

from __future__ import annotations

import os
import secrets
import socket
from datetime import datetime, timedelta

from sqlalchemy import String, or_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from broker.database import Base, Database, now

TERM = timedelta(seconds=10)


class Leader(Base):
    """Who does the work of that name, and until when it is theirs."""

    __tablename__ = "leaders"

    work: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120))
    until: Mapped[datetime]


class Candidate:
    """This process, for one kind of work. It must call `leads()` again well within TERM."""

    def __init__(self, database: Database, work: str) -> None:
        self._database, self._work = database, work
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def leads(self) -> bool:
        """Take or renew the lease; False while another holds it."""
        try:
            with self._database.transaction() as db:
                if db.get(Leader, self._work) is None:
                    db.add(Leader(work=self._work, holder=self.name, until=now() + TERM))
                    return True
                taken = db.execute(
                    update(Leader)
                    .where(Leader.work == self._work, or_(Leader.holder == self.name, Leader.until < now()))
                    .values(holder=self.name, until=now() + TERM)
                    .execution_options(synchronize_session=False)
                )
                return bool(taken.rowcount == 1)  # type: ignore[attr-defined]
        except IntegrityError:
            return False

    def resign(self) -> None:
        """Let another take over at once."""
        with self._database.transaction() as db:
            db.execute(update(Leader).where(Leader.work == self._work, Leader.holder == self.name).values(until=now()))
