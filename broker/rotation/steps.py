"""When each step in replacing a key may be done, and doing it. The leading manager looks again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from broker import events
from broker.configuration.keyring import Step
from broker.database import hold
from broker.errors import NotFound, WrongState
from broker.pools import renewal
from broker.pools.models import Machine
from broker.rotation.rings import IN_STEPS, KEYS, Certified, Ring
from broker.runtime import Runtime

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
        for key in KEYS.values():
            standing = key.standing(secrets)
            yield Key(key.name, key.purpose, standing.step, standing.since, key.waits_for(db, secrets))


def begin(runtime: Runtime, name: str) -> bool:
    """Begin to replace the key; whether that was all. NotFound where there is none of this name, WrongState where it
    is being replaced."""
    secrets, key = runtime.settings.secrets_dir, _known(name)
    with runtime.database.transaction() as db:
        hold(db, "keys")
        if isinstance(key, Certified):
            key.replace(secrets)
            events.record(db, "secret:replace", name)
            return True
        if key.standing(secrets).step is not Step.STEADY:
            raise WrongState(f"{name} is being replaced already.", hint="`beamdesk keys list` says what it waits for.")
        key.begin(secrets)
        events.record(db, "secret:begin", name)
        return False


def advance(runtime: Runtime) -> None:
    """Do each step that waits for nothing any more."""
    secrets = runtime.settings.secrets_dir
    if all(ring.standing(secrets).step is Step.STEADY for ring in IN_STEPS):
        return
    for ring in IN_STEPS:
        with runtime.database.transaction() as db:
            hold(db, "keys")
            step = ring.standing(secrets).step
            if step is Step.STEADY or ring.waits_for(db, secrets):
                continue
            ring.switch(secrets) if step is Step.BEGUN else ring.forget(secrets)
            events.record(db, "secret:switch" if step is Step.BEGUN else "secret:forget", ring.name)


def at_once(runtime: Runtime, authority: str) -> Sequence[Machine]:
    """Replace an authority whose key others may have, whatever breaks; the machines that could not be told.

    Machines are told before the last broker's certificate of the old key is forgotten. Certificates and connection
    files of before open nothing any more; browsers, and what is open, go on.
    """
    secrets, key = runtime.settings.secrets_dir, _known(authority)
    if not (isinstance(key, Ring) and key.is_authority):
        raise NotFound(f"{authority} is not an authority: it is always replaced at once.", hint="Leave --now out.")
    with runtime.database.transaction() as db:
        hold(db, "keys")
        if key.standing(secrets).step is not Step.BEGUN:
            key.begin(secrets)
        events.record(db, "secret:compromised", authority)
    _tell_all(runtime)
    with runtime.database.transaction() as db:
        hold(db, "keys")
        if key.standing(secrets).step is Step.BEGUN:  # else a manager was quicker
            key.switch(secrets)
        key.forget(secrets)
        events.record(db, "secret:forget", authority)
    return _tell_all(runtime)


def _tell_all(runtime: Runtime) -> list[Machine]:
    """Those that are in use and could not be told."""
    with runtime.database.reading() as db:
        machines = list(db.scalars(select(Machine).where(*renewal.stale(runtime.settings.secrets_dir))))
    with ThreadPoolExecutor(AT_ONCE) as together:
        done = list(together.map(lambda machine: renewal.renew(runtime, machine), machines))
    return [machine for machine, told in zip(machines, done, strict=True) if not told]


def _known(name: str) -> Ring | Certified:
    if name not in KEYS:
        raise NotFound(f"The broker has no key {name}.", hint=f"It has these: {', '.join(KEYS)}.")
    return KEYS[name]
