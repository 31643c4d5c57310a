"""What is asked about a session, and what was answered: support may join it, somebody may have it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, ForeignKey, String, Text, and_, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from broker.database import Base, now
from broker.errors import WrongState


class Answer(StrEnum):
    """What became of a question."""

    LOOK = "look"
    CONTROL = "control"
    REFUSED = "refused"
    TAKEN_BACK = "taken-back"


class JoinRequest(Base):
    """Somebody of support asks to join a session; open until it is answered or too old. Kept as a record of consent."""

    __tablename__ = "join_requests"

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    reason: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    answer: Mapped[Answer | None] = mapped_column(String(16))
    answered_at: Mapped[datetime | None]
    share_id: Mapped[int | None] = mapped_column(ForeignKey("shares.id"))

    @classmethod
    def waits(cls) -> ColumnElement[bool]:
        """That it was not answered and is not too old. Its session may be over all the same."""
        return and_(cls.answer.is_(None), cls.expires_at > now())


class Outcome(StrEnum):
    """What became of an offer."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    OVER = "over"  # nobody answered in time, or the session ended before


class Handover(Base):
    """A session is offered to somebody, who becomes its owner by accepting; open until it is answered or too old.

    `made_by_id` is the giver, or an administrator, who says why in `reason`. Kept as a record of both consents.
    """

    __tablename__ = "handovers"

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), index=True)
    giver_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    receiver_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    made_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    offered_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    outcome: Mapped[Outcome | None] = mapped_column(String(16))
    answered_at: Mapped[datetime | None]

    @classmethod
    def waits(cls) -> ColumnElement[bool]:
        """That it was not answered and is not too old. Its session may be over all the same."""
        return and_(cls.outcome.is_(None), cls.expires_at > now())


def decide(db: Session, asked: JoinRequest | Handover, **answer: Answer | Outcome) -> None:
    """Write the answer down, once: of two at the same moment the first one counts, and WrongState is the other's."""
    table = type(asked)
    waiting = update(table).where(table.id == asked.id, table.waits())
    if db.execute(waiting.values(**answer, answered_at=now()).returning(table.id)).scalar() is None:
        raise WrongState("This was answered or withdrawn already, or is too old.", hint="Reload the page.")
    db.refresh(asked)
