"""The kinds of keys that the broker holds: how each is replaced, and whom each step of that would lock out.

An authority is believed ahead of its switch and some time after it:

- user_ca: switched when every machine believes the new one; forgotten after the last certificate that it signed before.
- host_ca: switched when every machine believes the new one where it dials, and after the last connection file that
  knows the old one alone; forgotten when every machine shows a certificate of the new one.
- desktop_ca: switched when every machine's doors believe the new one; forgotten when every machine's doors show a
  certificate of the new one.
- sign-in: the new one seals at once; the old one is forgotten after the last sign-in of which it sealed something.

The keys broker and ssh_gateway are only certified by these: they are replaced at once, and nobody notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from broker.configuration import ca, desktop_ca, keyring
from broker.configuration.keyring import Standing, Step
from broker.connections.models import Certificate
from broker.database import now
from broker.identity import sealing
from broker.identity.models import SignIn
from broker.identity.openid import MINUTES
from broker.pools import renewal
from broker.sessions import certificates
from broker.sessions.models import UserSession

Waits = Callable[[Session, Path, datetime], str]  # for what, of a step that was reached then; "" for nothing
_UNDER_WAY = timedelta(minutes=MINUTES)


@dataclass(frozen=True)
class Ring:
    """A key that is replaced in steps; `switch_waits` and `forget_waits` say what those steps would lock out."""

    name: str
    purpose: str
    standing: Callable[[Path], Standing]
    begin: Callable[[Path], None]
    switch: Callable[[Path], None]
    forget: Callable[[Path], None]
    switch_waits: Waits
    forget_waits: Waits
    is_authority: bool = True

    def waits_for(self, db: Session, secrets: Path) -> str:
        """What must be over before the next step."""
        waits = {Step.STEADY: _nothing, Step.BEGUN: self.switch_waits, Step.SWITCHED: self.forget_waits}
        now_at = self.standing(secrets)
        return waits[now_at.step](db, secrets, now_at.since)


@dataclass(frozen=True)
class Certified:
    """A key that an authority certifies: it is replaced at once."""

    name: str
    purpose: str

    def standing(self, secrets: Path) -> Standing:
        """Steady, always."""
        return keyring.standing(secrets, self.name)

    def replace(self, secrets: Path) -> None:
        """The new one is certified before anybody asks for it."""
        keyring.replace(secrets, self.name)
        ca.broker_login(secrets)
        ca.gateway_host(secrets)

    def waits_for(self, db: Session, secrets: Path) -> str:
        """Nothing, ever."""
        return ""


def _nothing(db: Session, secrets: Path, since: datetime) -> str:
    return ""


def _machines(db: Session, secrets: Path, since: datetime) -> str:
    number = len(renewal.behind(db, secrets))
    return f"{number} machines to be told" if number else ""


def _certificates(db: Session, secrets: Path, since: datetime) -> str:
    return _until(db.scalar(_issued_before(since)), "certificates of before")


def _machines_and_certificates(db: Session, secrets: Path, since: datetime) -> str:
    return _machines(db, secrets, since) or _certificates(db, secrets, since)


def _sign_ins(db: Session, secrets: Path, since: datetime) -> str:
    if now() - since < _UNDER_WAY:
        return "sign-ins that are under way"
    return _until(db.scalar(_sealed_before(since)), "sign-ins of before")


def _until(latest: datetime | None, what: str) -> str:
    return f"{what}, until {latest:%Y-%m-%d %H:%M} UTC at most" if latest else ""


def _issued_before(since: datetime) -> Select[Any]:
    """When the last of the certificates that still open something, and were issued before, ends by itself."""
    return (
        select(func.max(Certificate.expires_at))
        .join(UserSession, UserSession.id == Certificate.session_id)
        .join(SignIn, SignIn.id == Certificate.sign_in_id)
        .where(*certificates.opens_now(), Certificate.issued_at <= since)
    )


def _sealed_before(since: datetime) -> Select[Any]:
    stands = (SignIn.revoked_at.is_(None), SignIn.expires_at > now())
    return select(func.max(SignIn.expires_at)).where(
        SignIn.sealed_tokens.is_not(None), *stands, SignIn.created_at <= since
    )


def _sealing(secrets: Path) -> Standing:
    path = sealing.keys_file(secrets)
    step = Step.SWITCHED if len(path.read_text().split()) > 1 else Step.STEADY
    return Standing(step, datetime.fromtimestamp(path.stat().st_mtime, UTC))


def _ssh(authority: str, purpose: str, switch_waits: Waits, forget_waits: Waits) -> Ring:
    return Ring(
        authority,
        purpose,
        standing=partial(keyring.standing, authority=authority),
        begin=partial(keyring.begin, authority=authority),
        switch=partial(keyring.switch, authority=authority),
        forget=partial(keyring.forget, authority=authority),
        switch_waits=switch_waits,
        forget_waits=forget_waits,
    )


_ALL: tuple[Ring | Certified, ...] = (
    _ssh("user_ca", "signs users' SSH certificates, and the broker's own", _machines, _certificates),
    _ssh(
        "host_ca",
        "signs the SSH host certificates of machines and of the gateways",
        _machines_and_certificates,
        _machines,
    ),
    Certified("broker", "logs in to machines as root"),
    Certified("ssh_gateway", "is the SSH gateway's host key"),
    Ring(
        desktop_ca.NAME,
        "signs for machines' doors and for the gateways that go through them",
        standing=desktop_ca.standing,
        begin=desktop_ca.begin,
        switch=desktop_ca.switch,
        forget=desktop_ca.forget,
        switch_waits=_machines,
        forget_waits=_machines,
    ),
    Ring(
        "sign-in",
        "seals what identity providers give for a sign-in",
        standing=_sealing,
        begin=sealing.begin,
        switch=sealing.forget,  # never called: the new key seals at once
        forget=sealing.forget,
        switch_waits=_nothing,
        forget_waits=_sign_ins,
        is_authority=False,
    ),
)
KEYS = {key.name: key for key in _ALL}
IN_STEPS = tuple(key for key in _ALL if isinstance(key, Ring))
