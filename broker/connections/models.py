"""Tickets, users' SSH keys, the certificates signed for keys, and the connections that all of these opened."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from broker.database import Base, now


class Way(StrEnum):
    """By which door a user comes to a desktop."""

    BROWSER = "browser"
    RDP = "rdp"
    SSH = "ssh"


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


class SshKey(Base):
    """A public key that its owner has registered; of one user only."""

    __tablename__ = "ssh_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    public_key: Mapped[str] = mapped_column(Text)  # `TYPE BASE64`, without a comment
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(40))  # as ssh-keygen calls it: "RSA, 4096 bits"
    created_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]  # when it last came through the gateway


class Certificate(Base):
    """An SSH certificate for one session; its serial is `id`, so none is ever given twice.

    It dies with its session, its sign-in and its key (`withdrawn_at`), and at `expires_at` by itself.
    """

    __tablename__ = "certificates"

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    sign_in_id: Mapped[int] = mapped_column(ForeignKey("sign_ins.id"))
    ssh_key_id: Mapped[int | None] = mapped_column(ForeignKey("ssh_keys.id", ondelete="SET NULL"), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    issued_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]


class Connection(Base):
    """One open way into a session through a gateway. `gateway` and `pid` name the process that carries it.

    `certificate_id` is of the certificate that opened it, where that was one and no ticket.
    """

    __tablename__ = "connections"
    __table_args__ = (Index("ix_connections_open", "gateway", "closed_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    way: Mapped[Way] = mapped_column(String(16), default=Way.BROWSER)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    sign_in_id: Mapped[int] = mapped_column(ForeignKey("sign_ins.id"))
    gateway: Mapped[str] = mapped_column(String(80))
    pid: Mapped[int]
    certificate_id: Mapped[int | None] = mapped_column(ForeignKey("certificates.id"), index=True)
    client: Mapped[str] = mapped_column(String(64))
    opened_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]
