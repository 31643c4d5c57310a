"""Support's questions whether it may join a session, and what its owner answered."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from broker.database import Base, now


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
