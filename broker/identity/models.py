"""Users and their sign-ins."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.database import Base, now
from broker.identity.rights import Role

FIRST_UID = 20000  # above the accounts that distributions and facilities' directories give out by themselves


class User(Base):
    """A person. `name` is also the account's name on machines."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    full_name: Mapped[str] = mapped_column(String(128))
    password_hash: Mapped[str] = mapped_column(String(256))
    role: Mapped[Role] = mapped_column(String(16), default=Role.USER)
    groups: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def uid(self) -> int:
        """The user's numeric id on every machine, for ever the same."""
        return FIRST_UID + self.id


class SignIn(Base):
    """One sign-in of one user in one browser or program; revoking it closes what hangs on it.

    An API token is one, too: it has a `name`, and of its owner's rights only `rights`. One that a service account
    was given, to act for the user, says so in `acting_id`.
    """

    __tablename__ = "sign_ins"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    name: Mapped[str | None] = mapped_column(String(80))
    rights: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    acting_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))


class DeviceGrant(Base):
    """A program that asks to be signed in until its user confirms the code in a browser, or it is too old."""

    __tablename__ = "device_grants"

    id: Mapped[int] = mapped_column(primary_key=True)
    device_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_code: Mapped[str] = mapped_column(String(9), unique=True)
    program: Mapped[str] = mapped_column(String(80))
    client: Mapped[str] = mapped_column(String(64))
    rights: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    allowed: Mapped[bool | None]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
