"""When each step in replacing a key may be done, and doing it. The leading manager looks again and again.

An authority is believed ahead of its switch and some time after it:

- user_ca: switched when every machine believes the new one; forgotten after the last certificate that it signed before.
- host_ca: switched after the last connection file that knows the old one alone; forgotten when every machine shows a
  certificate of the new one.
- desktop_ca: switched when every machine's doors believe the new one; forgotten when every machine's doors show a
  certificate of the new one.
- sign-in: the new one seals at once; the old one is forgotten after the last sign-in of which it sealed something.

The keys broker and ssh_gateway are only certified by these: they are replaced at once, and nobody notices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from broker import events
from broker.configuration import ca, desktop_ca, keyring
from broker.configuration.keyring import Step
from broker.connections.models import Certificate
from broker.database import hold, now
from broker.errors import NotFound, WrongState
from broker.identity import sealing
from broker.identity.models import SignIn
from broker.identity.openid import MINUTES
from broker.pools import renewal
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.sessions import certificates
from broker.sessions.models import UserSession

SIGN_IN = "sign-in"
CERTIFIED = ("broker", "ssh_gateway")
PURPOSES = {
    "user_ca": "signs users' SSH certificates, and the broker's own",
    "host_ca": "signs the SSH host certificates of machines and of the gateway",
    "broker": "logs in to machines as root",
    "ssh_gateway": "is the SSH gateway's host key",
    desktop_ca.NAME: "signs for machines' doors and for the gateways that go through them",
    SIGN_IN: "seals what identity providers give for a sign-in",
}
AUTHORITIES = (*ca.AUTHORITIES, desktop_ca.NAME)
IN_STEPS = (*AUTHORITIES, SIGN_IN)
UNDER_WAY = timedelta(minutes=MINUTES)
AT_ONCE = 8  # machines that are told at the same time


@dataclass(frozen=True)
class Key:
    """A key of the broker's: how far its replacing is, and what that waits for; nothing where it waits for nothing."""

    name: str
    purpose: str
    step: Step
    since: datetime
    waits_for: str


def listed(runtime: Runtime) -> Iterator[Key]:
    """All keys that the broker holds in its secrets folder."""
    secrets = runtime.settings.secrets_dir
    with runtime.database.reading() as db:
        for name, purpose in PURPOSES.items():
            step, since = _standing(secrets, name)
            yield Key(name, purpose, step, since, _waits_for(db, secrets, name, step, since))


def begin(runtime: Runtime, name: str) -> None:
    """Begin to replace the key; NotFound where there is none of this name, WrongState where it is being replaced."""
    secrets = runtime.settings.secrets_dir
    _must_be_known(name)
    with runtime.database.transaction() as db:
        hold(db, "keys")
        if name in CERTIFIED:
            keyring.replace(secrets, name)
            ca.broker_login(secrets)
            ca.gateway_host(secrets)
            events.record(db, "secret:replace", name)
            return
        if _standing(secrets, name)[0] is not Step.STEADY:
            raise WrongState(f"{name} is being replaced already.", hint="`beamdesk keys list` says what it waits for.")
        if name == SIGN_IN:
            sealing.begin(secrets)
        else:
            _begin(secrets, name)
        events.record(db, "secret:begin", name)


def advance(runtime: Runtime) -> None:
    """Do each step that waits for nothing any more."""
    secrets = runtime.settings.secrets_dir
    if all(_standing(secrets, name)[0] is Step.STEADY for name in IN_STEPS):
        return
    for name in IN_STEPS:
        with runtime.database.transaction() as db:
            hold(db, "keys")
            step, since = _standing(secrets, name)
            if step is not Step.STEADY and not _waits_for(db, secrets, name, step, since):
                _take(db, secrets, name, step)


def _take(db: Session, secrets: Path, name: str, step: Step) -> None:
    if name == SIGN_IN:
        sealing.forget(secrets)
    elif step is Step.BEGUN:
        _switch(secrets, name)
    else:
        _forget(secrets, name)
    events.record(db, "secret:switch" if step is Step.BEGUN else "secret:forget", name)


def _begin(secrets: Path, authority: str) -> None:
    desktop_ca.begin(secrets) if authority == desktop_ca.NAME else keyring.begin(secrets, authority)


def _switch(secrets: Path, authority: str) -> None:
    desktop_ca.switch(secrets) if authority == desktop_ca.NAME else keyring.switch(secrets, authority)


def _forget(secrets: Path, authority: str) -> None:
    desktop_ca.forget(secrets) if authority == desktop_ca.NAME else keyring.forget(secrets, authority)


def at_once(runtime: Runtime, authority: str) -> Sequence[Machine]:
    """Replace an authority whose key others may have, whatever breaks; the machines that could not be told.

    Machines are told before the last broker's certificate of the old key is forgotten. Certificates and connection
    files of before open nothing any more; browsers, and what is open, go on.
    """
    secrets = runtime.settings.secrets_dir
    _must_be_known(authority)
    if authority not in AUTHORITIES:
        raise NotFound(f"{authority} is not an authority: it is always replaced at once.", hint="Leave --now out.")
    with runtime.database.transaction() as db:
        hold(db, "keys")
        if _standing(secrets, authority)[0] is not Step.BEGUN:
            _begin(secrets, authority)
        events.record(db, "secret:compromised", authority)
    _tell_all(runtime)
    with runtime.database.transaction() as db:
        hold(db, "keys")
        if _standing(secrets, authority)[0] is Step.BEGUN:  # else a manager was quicker
            _switch(secrets, authority)
        _forget(secrets, authority)
        events.record(db, "secret:forget", authority)
    return _tell_all(runtime)


def _tell_all(runtime: Runtime) -> list[Machine]:
    """Those that are in use and could not be told."""
    with runtime.database.reading() as db:
        machines = list(db.scalars(select(Machine).where(*renewal.stale(runtime.settings.secrets_dir))))
    with ThreadPoolExecutor(AT_ONCE) as together:
        done = list(together.map(lambda machine: renewal.renew(runtime, machine), machines))
    return [machine for machine, told in zip(machines, done, strict=True) if not told]


def _must_be_known(name: str) -> None:
    if name not in PURPOSES:
        raise NotFound(f"The broker has no key {name}.", hint=f"It has these: {', '.join(PURPOSES)}.")


def _standing(secrets: Path, name: str) -> tuple[Step, datetime]:
    if name == SIGN_IN:
        path = sealing.keys_file(secrets)
        step = Step.SWITCHED if len(path.read_text().split()) > 1 else Step.STEADY
        return step, datetime.fromtimestamp(path.stat().st_mtime, UTC)
    found = desktop_ca.standing(secrets) if name == desktop_ca.NAME else keyring.standing(secrets, name)
    return found.step, found.since


def _waits_for(db: Session, secrets: Path, name: str, step: Step, since: datetime) -> str:
    """What must be over before the next step."""
    if step is Step.STEADY:
        return ""
    if name == SIGN_IN:
        if now() - since < UNDER_WAY:
            return "sign-ins that are under way"
        return _until(db.scalar(_sealed_before(since)), "sign-ins of before")
    if name == desktop_ca.NAME or (name == "user_ca") == (step is Step.BEGUN):
        number = len(renewal.behind(db, secrets))
        return f"{number} machines to be told" if number else ""
    return _until(db.scalar(_issued_before(since)), "certificates of before")


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
