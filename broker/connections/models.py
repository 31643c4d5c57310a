"""Tickets, users' SSH keys, the certificates signed for keys, the connections that all of these opened, and the
shares by which others than the owner come."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, ForeignKey, Index, String, Text, UniqueConstraint, and_
from sqlalchemy.orm import Mapped, mapped_column

from broker.database import Base, now


class Way(StrEnum):
    """By which door a user comes to a desktop."""

    BROWSER = "browser"
    RDP = "rdp"
    SSH = "ssh"
    SOUND = "sound"  # of the desktop in the browser, beside it


class Ticket(Base):
    """A secret that opens one connection by one door, once, within minutes. Only its hash is kept."""

    __tablename__ = "tickets"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    way: Mapped[Way] = mapped_column(String(16), default=Way.BROWSER)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    sign_in_id: Mapped[int] = mapped_column(ForeignKey("sign_ins.id"))
    share_id: Mapped[int | None] = mapped_column(ForeignKey("shares.id"))  # by which a guest comes
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SshKey(Base):
    """A public key that somebody has registered for their own sessions. Others may register the same one for theirs."""

    __tablename__ = "ssh_keys"
    __table_args__ = (UniqueConstraint("user_id", "fingerprint"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    public_key: Mapped[str] = mapped_column(Text)  # `TYPE BASE64`, without a comment
    fingerprint: Mapped[str] = mapped_column(String(64))
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
    share_id: Mapped[int | None] = mapped_column(ForeignKey("shares.id"), index=True)  # of a guest's
    view_only: Mapped[bool] = mapped_column(default=False)
    gateway: Mapped[str] = mapped_column(String(80))
    pid: Mapped[int]
    certificate_id: Mapped[int | None] = mapped_column(ForeignKey("certificates.id"), index=True)
    client: Mapped[str] = mapped_column(String(64))
    opened_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]


class ShareKind(StrEnum):
    """Why somebody may open another one's desktop."""

    NAMED = "named"  # its owner named the guest
    LINK = "link"  # a link, which is nobody's: who opens it becomes a guest with a share of their own
    JOINED = "joined"  # came by a link
    SUPPORT = "support"  # asked to, and the owner allowed it
    BREAK_GLASS = "break-glass"  # an administrator, for a reason, without asking


class Share(Base):
    """One guest's right to open a session's desktop in the browser, until it ends or is withdrawn; or a link to such.

    Of a link only the secret's hash is kept. Who looks cannot also `control`: the gateway sees to that.
    """

    __tablename__ = "shares"

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), index=True)
    kind: Mapped[ShareKind] = mapped_column(String(16))
    made_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)  # the guest; None: a link
    token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    link_id: Mapped[int | None] = mapped_column(ForeignKey("shares.id"), index=True)  # by which the guest came
    control: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))

    @property
    def recorded(self) -> bool:
        """Whether what its guest sees is recorded."""
        return self.kind in (ShareKind.SUPPORT, ShareKind.BREAK_GLASS)

    @property
    def stands(self) -> bool:
        """Whether it was not withdrawn, and its time is not over. Its session may be over all the same."""
        return self.withdrawn_at is None and self.expires_at > now()


def share_stands() -> ColumnElement[bool]:
    """The same, for a query."""
    return and_(Share.withdrawn_at.is_(None), Share.expires_at > now())
