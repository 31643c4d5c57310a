"""Bad sign-ins in masses: nobody gets in, nothing grows, nobody else is kept out."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from apiflask import APIFlask
from sqlalchemy import func, select, update

from broker.database import now
from broker.errors import BrokerError
from broker.events import Event
from broker.identity import guessing
from broker.identity.guessing import OF_ADDRESS, OF_NAME, OF_NAME_HERE
from broker.identity.models import FailedSignIn
from broker.identity.service import CameFrom
from broker.runtime import Runtime
from tests.conftest import NewPerson
from web.guessing import check_password

GUESS = "guess"
ALICE = {"name": "alice", "password": "alice-secret"}


def attempt(app: APIFlask, address: str, name: str = "alice", password: str = GUESS) -> int:
    """One attempt from this address; its status."""
    told = {"name": name, "password": password}
    return app.test_client().post("/api/v1/sign-in", json=told, environ_base={"REMOTE_ADDR": address}).status_code


def rows(runtime: Runtime) -> tuple[int, int]:
    """How many failures are kept, and how many lines of the audit log tell of one."""
    with runtime.database.reading() as db:
        kept = db.scalar(select(func.count()).select_from(FailedSignIn)) or 0
        told = db.scalar(select(func.count()).where(Event.action == "account:sign-in-failed")) or 0
    return kept, told


def guess(runtime: Runtime, name: str) -> int:
    """One attempt as form and API make it; its status."""
    try:
        check_password(runtime, name, GUESS, CameFrom("192.0.2.66"))
    except BrokerError as error:
        return error.status
    return 200


def memory() -> int:
    """Bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_ten_thousand_bad_sign_ins_get_nothing_and_cost_nothing(
    app: APIFlask, runtime: Runtime, new_person: NewPerson
) -> None:
    """From one address, at one name and at thousands; the owner signs in from another address all the while."""
    new_person("alice")
    statuses = [attempt(app, "192.0.2.66", "alice" if number % 2 else f"name-{number}") for number in range(200)]
    before = rows(runtime)
    statuses += [guess(runtime, "alice" if number % 2 else f"name-{number}") for number in range(2000)]
    held = memory()
    statuses += [guess(runtime, "alice" if number % 2 else f"name-{number}") for number in range(7800)]
    grown = memory() - held
    assert len(statuses) == 10_000
    assert set(statuses) == {401, 429}
    assert statuses.count(401) <= OF_ADDRESS
    assert rows(runtime) == before
    assert before[0] <= OF_ADDRESS
    assert grown < 4_000_000, f"{grown} bytes more after 7,800 attempts"
    assert attempt(app, "198.51.100.1", **ALICE) == 200


def test_an_address_that_guesses_at_many_names_must_wait(app: APIFlask, new_person: NewPerson) -> None:
    """Also for a name at which it never guessed, and with the right password."""
    new_person("alice")
    for number in range(OF_ADDRESS):
        assert attempt(app, "192.0.2.66", f"name-{number}") == 401
    assert attempt(app, "192.0.2.66", **ALICE) == 429
    assert attempt(app, "192.0.2.67", **ALICE) == 200


def test_a_customers_whole_ipv6_network_is_one_guesser(app: APIFlask, new_person: NewPerson) -> None:
    """They have 2^64 addresses to guess from."""
    new_person("alice")
    for number in range(OF_NAME_HERE):
        assert attempt(app, f"2001:db8:0:1::{number:x}") == 401
    assert attempt(app, "2001:db8:0:1:ffff::1", **ALICE) == 429
    assert attempt(app, "2001:db8:0:2::1", **ALICE) == 200


def test_many_guessers_at_one_name_are_stopped_and_its_owner_is_not(app: APIFlask, new_person: NewPerson) -> None:
    """Strangers must wait, where the person signed in lately they need not: nobody is locked out by others."""
    new_person("alice")
    assert attempt(app, "198.51.100.1", **ALICE) == 200
    for number in range(OF_NAME):
        assert attempt(app, f"192.0.2.{number}") == 401
    assert attempt(app, "203.0.113.5", **ALICE) == 429, "a guesser who is right does not learn it"
    assert attempt(app, "198.51.100.1", **ALICE) == 200


def test_waiting_ends_by_itself(app: APIFlask, runtime: Runtime, new_person: NewPerson) -> None:
    """And what no longer counts is not kept."""
    new_person("alice")
    for _ in range(OF_NAME_HERE):
        attempt(app, "192.0.2.66")
    assert attempt(app, "192.0.2.66", **ALICE) == 429
    with runtime.database.transaction() as db:
        db.execute(update(FailedSignIn).values(at=now() - guessing.WITHIN - timedelta(seconds=1)))
    assert attempt(app, "192.0.2.66", **ALICE) == 200
    assert attempt(app, "192.0.2.66", password="x") == 401
    assert rows(runtime)[0] == 1


@pytest.mark.parametrize("name", ["", "a" * 64, "'; drop table users; --", "\x07", "ä"])
def test_whatever_is_sent_as_a_name_is_only_a_name(app: APIFlask, new_person: NewPerson, name: str) -> None:
    """By the form, too."""
    new_person("alice")
    answer = app.test_client().post("/sign-in", data={"name": name, "password": "x"})
    assert answer.status_code == 401
    assert attempt(app, "192.0.2.1", **ALICE) == 200
