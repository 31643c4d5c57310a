"""Keys are replaced step by step, and each step waits for those whom it would lock out."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from broker.configuration import ca, desktop_ca, doors, identity, keyring
from broker.configuration.keyring import Step
from broker.connections.models import Certificate
from broker.database import now
from broker.errors import MachineUnreachable, NotFound, WrongState
from broker.events import Event
from broker.identity import sealing
from broker.identity.models import SignIn, User
from broker.pools import renewal
from broker.pools.models import Machine, MachineState
from broker.rotation import steps
from broker.rotation.rings import IN_STEPS, KEYS, Certified
from broker.runtime import Runtime
from broker.sessions.models import SessionState, UserSession

M = MachineState


@pytest.fixture
def secrets(runtime: Runtime) -> Path:
    """The folder, with its authorities."""
    ca.trusted(runtime.settings.secrets_dir)
    return runtime.settings.secrets_dir


def machine(runtime: Runtime, state: MachineState = M.VACANT, **values: object) -> Machine:
    """One that knows today's keys, unless `values` say otherwise."""
    values = {
        "told": renewal.mark(runtime.settings.secrets_dir),
        "address": "192.0.2.7",
        "host_key": "k",
        "attempt": 0,
        **values,
    }
    with runtime.database.transaction() as db:
        row = Machine(pool="light-ral", environment="light", size="small", cloud="ral", state=state, **values)
        db.add(row)
        db.flush()
    return row


def tell(runtime: Runtime, *machines: Machine) -> None:
    """As the job does it, on a machine that takes it."""
    for each in machines:
        assert renewal.renew(runtime, each)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The machines that were told something, in place of their SSH."""
    names: list[str] = []
    monkeypatch.setattr(identity, "renew", lambda state_dir, target: names.append(target.name))
    monkeypatch.setattr(doors, "lay", lambda state_dir, target: None)
    return names


def certificate(runtime: Runtime) -> int:
    """One that somebody uses, of a session of two days."""
    with runtime.database.transaction() as db:
        later = now() + timedelta(days=2)
        user = User(name="alice", full_name="Alice", password_hash="")
        db.add(user)
        db.flush()
        sign_in = SignIn(user_id=user.id, token_hash="t", expires_at=later)
        session = UserSession(user_id=user.id, environment="light", state=SessionState.READY, expires_at=later, wish={})
        db.add_all([sign_in, session])
        db.flush()
        ids = {"session_id": session.id, "user_id": user.id, "sign_in_id": sign_in.id}
        row = Certificate(**ids, fingerprint="SHA256:x", issued_at=now() - timedelta(minutes=1), expires_at=later)
        db.add(row)
        db.flush()
        return row.id


def step_of(runtime: Runtime, name: str) -> Step:
    return next(key.step for key in steps.listed(runtime) if key.name == name)


def waits_for(runtime: Runtime, name: str) -> str:
    return next(key.waits_for for key in steps.listed(runtime) if key.name == name)


def end(runtime: Runtime, number: int) -> None:
    """The certificate's time is over."""
    with runtime.database.transaction() as db:
        db.execute(update(Certificate).where(Certificate.id == number).values(expires_at=now()))


def test_the_users_authority_waits_for_machines_and_then_for_certificates(
    runtime: Runtime, secrets: Path, told: list[str]
) -> None:
    """A machine that is being built with the old keys counts; one that its cloud was not asked for does not."""
    used, coming, number = machine(runtime, M.ACQUIRED), machine(runtime, M.BUILDING), certificate(runtime)
    machine(runtime, M.REQUESTED, told=None)
    old = ca.signs(secrets, "user_ca")
    steps.begin(runtime, "user_ca")
    steps.advance(runtime)
    assert waits_for(runtime, "user_ca") == "2 machines to be told"
    assert ca.signs(secrets, "user_ca") == old
    tell(runtime, used)
    steps.advance(runtime)
    assert waits_for(runtime, "user_ca") == "1 machines to be told"
    tell(runtime, coming)
    steps.advance(runtime)
    assert step_of(runtime, "user_ca") is Step.SWITCHED
    assert ca.signs(secrets, "user_ca") != old
    assert old in ca.trusted(secrets).users
    steps.advance(runtime)
    assert waits_for(runtime, "user_ca").startswith("certificates of before, until ")
    end(runtime, number)
    steps.advance(runtime)
    assert step_of(runtime, "user_ca") is Step.STEADY
    assert old not in ca.trusted(secrets).users
    with runtime.database.reading() as db:
        actions = list(db.scalars(select(Event.action).where(Event.kind == "secret").order_by(Event.id)))
        assert actions == ["secret:begin", "secret:switch", "secret:forget"]
        assert {each.id for each in renewal.behind(db, secrets)} == {used.id, coming.id}, "they forget the old one, too"


def test_the_hosts_authority_waits_for_machines_and_files_and_for_machines_again(
    runtime: Runtime, secrets: Path, told: list[str]
) -> None:
    """A file of before knows the old authority alone, and so does a machine that dials out before it is told."""
    used, number = machine(runtime, M.ACQUIRED), certificate(runtime)
    steps.begin(runtime, "host_ca")
    steps.advance(runtime)
    assert waits_for(runtime, "host_ca") == "1 machines to be told"
    tell(runtime, used)
    steps.advance(runtime)
    assert waits_for(runtime, "host_ca").startswith("certificates of before, until ")
    assert len(ca.trusted(secrets).hosts.splitlines()) == 2
    end(runtime, number)
    steps.advance(runtime)
    assert waits_for(runtime, "host_ca") == "1 machines to be told"
    tell(runtime, used)
    steps.advance(runtime)
    assert step_of(runtime, "host_ca") is Step.STEADY


def test_what_seals_sign_ins_waits_for_the_sign_ins(runtime: Runtime, secrets: Path) -> None:
    sealed = sealing.seal(secrets, "tokens", {"refresh": "r"})
    with runtime.database.transaction() as db:
        user = User(name="bob", full_name="Bob", password_hash="")
        db.add(user)
        db.flush()
        later = now() + timedelta(hours=12)
        db.add(SignIn(user_id=user.id, token_hash="b", expires_at=later, sealed_tokens=sealed, created_at=now()))
    steps.begin(runtime, "sign-in")
    assert sealing.unseal(secrets, "tokens", sealed) == {"refresh": "r"}
    assert waits_for(runtime, "sign-in") == "sign-ins that are under way"
    hour_ago = (now() - timedelta(hours=1)).timestamp()
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).values(created_at=now() - timedelta(hours=2)))
    os.utime(sealing.keys_file(secrets), (hour_ago, hour_ago))
    steps.advance(runtime)
    assert waits_for(runtime, "sign-in").startswith("sign-ins of before, until ")
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).values(revoked_at=now()))
    steps.advance(runtime)
    assert step_of(runtime, "sign-in") is Step.STEADY
    assert sealing.unseal(secrets, "tokens", sealed) is None


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if isinstance(key, Certified)])
def test_a_key_that_an_authority_certifies_is_replaced_at_once(runtime: Runtime, secrets: Path, name: str) -> None:
    of = {"broker": ca.broker_login, "ssh_gateway": ca.gateway_host}[name]
    before = of(secrets).certificate.read_text()
    steps.begin(runtime, name)
    login = of(secrets)
    assert login.certificate.read_text() != before
    assert login.key.with_name(f"{name}.pub").read_text().split()[1] not in before
    assert step_of(runtime, name) is Step.STEADY


def test_nothing_is_begun_twice_and_nothing_that_is_not_there(runtime: Runtime, secrets: Path) -> None:
    steps.begin(runtime, "host_ca")
    with pytest.raises(WrongState, match="being replaced already"):
        steps.begin(runtime, "host_ca")
    with pytest.raises(NotFound, match="no key moon"):
        steps.begin(runtime, "moon")
    with pytest.raises(NotFound, match="always replaced at once"):
        steps.at_once(runtime, "broker")


def test_what_root_makes_belongs_to_the_service(runtime: Runtime, secrets: Path) -> None:
    """An operator's command may run as root: the service must be able to read what it left."""
    service = 65534 if os.geteuid() == 0 else os.geteuid()
    for path in (secrets, *secrets.iterdir()):
        os.chown(path, service, -1)
    for name in KEYS:
        steps.begin(runtime, name)
    assert {path.name for path in secrets.iterdir()} >= {
        "sign-in.keys",
        "desktop_ca.next.pem",
        "user_ca.next",
        "broker",
    }
    assert {path.stat().st_uid for path in secrets.iterdir()} == {service}


def believed(secrets: Path) -> list[str]:
    """All whom machines and clients believe now."""
    lines = [*ca.trusted(secrets).users.splitlines(), *ca.trusted(secrets).hosts.splitlines()]
    return [*lines, *desktop_ca.trusted(secrets).split("-----BEGIN")[1:]]


def signs(secrets: Path, authority: str) -> str:
    """Of them the one who signs."""
    return believed(secrets)[-1] if authority == desktop_ca.NAME else ca.signs(secrets, authority)


def test_the_doors_authority_waits_for_machines_each_time(runtime: Runtime, secrets: Path, told: list[str]) -> None:
    """It signs when all doors believe it, and the old one goes when all show what the new one signed."""
    one, two = machine(runtime, M.ACQUIRED), machine(runtime)
    old = signs(secrets, desktop_ca.NAME)
    steps.begin(runtime, desktop_ca.NAME)
    for step in (Step.BEGUN, Step.SWITCHED):
        tell(runtime, one)
        steps.advance(runtime)
        assert (step_of(runtime, desktop_ca.NAME), old in believed(secrets)) == (step, True)
        tell(runtime, two)
        steps.advance(runtime)
    assert (step_of(runtime, desktop_ca.NAME), old in believed(secrets)) == (Step.STEADY, False)


def test_doors_get_another_certificate_before_theirs_ends(runtime: Runtime, secrets: Path, told: list[str]) -> None:
    """With a session or without; nobody else is asked, and nobody again at once."""
    day = timedelta(days=1)
    due = [machine(runtime, state, doors_due=now() - day) for state in (M.VACANT, M.ACQUIRED)]
    machine(runtime, doors_due=now() + day)
    for state in (M.CONFIGURING, M.FAILED, M.DELETING):
        machine(runtime, state, doors_due=now() - day)
    assert wanting(runtime) == {each.id for each in due}
    tell(runtime, *due)
    assert wanting(runtime) == set()
    with runtime.database.reading() as db:
        again = [db.get_one(Machine, each.id).doors_due for each in due]
    assert all(moment and day < moment - now() < desktop_ca.MACHINE_LIFE - day for moment in again)


def wanting(runtime: Runtime) -> set[int]:
    with runtime.database.reading() as db:
        return set(db.scalars(select(Machine.id).where(*renewal.wanting(runtime.settings.secrets_dir))))


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("authority", [ring.name for ring in IN_STEPS if ring.is_authority])
def test_a_key_that_others_may_have_is_believed_no_longer(
    runtime: Runtime, secrets: Path, monkeypatch: pytest.MonkeyPatch, authority: str, begun: bool
) -> None:
    """Each machine is told twice, with the broker's login of then; one that does not answer is named."""
    good, away = machine(runtime, M.ACQUIRED), machine(runtime, address="192.0.2.8")
    certificate(runtime)
    old, heard = signs(secrets, authority), []

    def renewed(state_dir: Path, target: object) -> None:
        if "192.0.2.8" in str(target):
            raise MachineUnreachable("It does not answer.")
        heard.append(old in believed(secrets))

    monkeypatch.setattr(identity, "renew", renewed)
    monkeypatch.setattr(doors, "lay", lambda state_dir, target: None)
    if begun:
        steps.begin(runtime, authority)
    left = steps.at_once(runtime, authority)
    assert [each.id for each in left] == [away.id]
    assert good.id not in {each.id for each in left}
    assert heard[-1] is False
    assert old not in believed(secrets)
    assert step_of(runtime, authority) is Step.STEADY


def test_a_step_that_was_cut_off_is_done_by_the_next(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the private and the public half."""
    keyring.begin(secrets, "user_ca")
    ahead = (secrets / "user_ca.next.pub").read_text()
    real: Callable[..., None] = os.replace

    def die(source: Path, target: Path) -> None:
        if str(source).endswith(".pub"):
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            keyring.switch(secrets, "user_ca")
    assert ahead.split()[1] in ca.trusted(secrets).users
    keyring.switch(secrets, "user_ca")
    assert ca.signs(secrets, "user_ca").split()[1] == ahead.split()[1]
    keyring.forget(secrets, "user_ca")
    assert len(ca.trusted(secrets).users.splitlines()) == 1
