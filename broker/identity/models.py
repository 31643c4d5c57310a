"""Users and their sign-ins."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.database import Base, now

FIRST_UID = 20000  # above the accounts that distributions and facilities' directories give out by themselves


class Role(StrEnum):
    """What a person may do."""

    USER = "user"
    ADMIN = "admin"
    SERVICE = "service"  # a program that launches for its own users; it cannot sign in


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
    """One sign-in of one user in one browser or program; revoking it closes what hangs on it."""

    __tablename__ = "sign_ins"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
