"""Tickets and the connections that they opened."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.database import Base, now


class Way(StrEnum):
    """By which door a user comes to a desktop."""

    BROWSER = "browser"
    RDP = "rdp"


class Ticket(Base):
    """A secret that opens one connection by one door, once, within minutes. Only its hash is kept."""

    __tablename__ = "tickets"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    way: Mapped[Way] = mapped_column(String(16), default=Way.BROWSER)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    sign_in_id: Mapped[int] = mapped_column(ForeignKey("sign_ins.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Connection(Base):
    """One open way into a session through a gateway. `gateway` and `pid` name the process that carries it."""

    __tablename__ = "connections"
    __table_args__ = (Index("ix_connections_open", "gateway", "closed_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    way: Mapped[Way] = mapped_column(String(16), default=Way.BROWSER)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    sign_in_id: Mapped[int] = mapped_column(ForeignKey("sign_ins.id"))
    gateway: Mapped[str] = mapped_column(String(80))
    pid: Mapped[int]
    client: Mapped[str] = mapped_column(String(64))
    opened_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]
