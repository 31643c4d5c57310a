"""Users, what other providers know them as, and their sign-ins."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String, Text, UniqueConstraint
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


class Identity(Base):
    """Who a user is at an OpenID provider. Issuer and subject together are one person for ever.

    `identifier` is what accounts are found again by, as "email:alice@example.org", where the settings trust the
    provider with it. `groups` and `admin` are what the provider last gave the user, so that it can be taken back.
    """

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    provider: Mapped[str] = mapped_column(String(40))
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    identifier: Mapped[str | None] = mapped_column(String(320), index=True)
    groups: Mapped[list[str]] = mapped_column(default=list)
    admin: Mapped[bool] = mapped_column(default=False)
    linked_at: Mapped[datetime] = mapped_column(default=now)
    told_at: Mapped[datetime] = mapped_column(default=now)


class SignIn(Base):
    """One sign-in of one user in one browser or program; revoking it closes what hangs on it.

    An API token is one, too: it has a `name`, and of its owner's rights only `rights`. One that a service account
    was given, to act for the user, says so in `acting_id`.

    By a provider: `identity_id`, the provider's own number of it (`sid`), its tokens (`sealed_tokens`), and when the
    groups are to be asked for again (`refresh_at`, None where that cannot be).
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
    seen_at: Mapped[datetime | None] = mapped_column(default=now)
    address: Mapped[str | None] = mapped_column(String(64))
    program: Mapped[str | None] = mapped_column(String(200))
    identity_id: Mapped[int | None] = mapped_column(ForeignKey("identities.id"), index=True)
    sid: Mapped[str | None] = mapped_column(String(255))
    sealed_tokens: Mapped[str | None] = mapped_column(Text)
    refresh_at: Mapped[datetime | None] = mapped_column(index=True)


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


class FailedSignIn(Base):
    """One attempt to sign in that failed; kept for as long as it counts against guessing."""

    __tablename__ = "failed_sign_ins"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    name: Mapped[str] = mapped_column(String(64), index=True)
    address: Mapped[str] = mapped_column(String(64), index=True)


class LogoutNotice(Base):
    """A logout token that was used; kept for as long as it could be sent again."""

    __tablename__ = "logout_notices"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
