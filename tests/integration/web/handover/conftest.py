"""Alice's session, of an experiment, and Bob of the same one; what each does about handing it over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from broker.database import now
from broker.runtime import Runtime
from broker.sessions import service
from broker.sharing.models import Handover
from tests.conftest import NewPerson
from tests.integration.web.conftest import NewMachines, SignedIn

HEADER = {"X-Requested-With": "test"}
TEAM = ("rb123",)


@pytest.fixture
def one(runtime: Runtime, new_person: NewPerson, new_machines: NewMachines, make_ready: Callable[[int], None]) -> int:
    """Alice's ready session, which counts for her experiment."""
    new_machines("light-ral")
    session = service.request(runtime, new_person("alice", groups=TEAM), service.Wish(environment="light"))
    make_ready(session.id)
    return session.id


@pytest.fixture
def alice(one: int, signed_in: SignedIn) -> FlaskClient:
    return signed_in("alice", groups=TEAM)


@pytest.fixture
def bob(signed_in: SignedIn) -> FlaskClient:
    """Of the same experiment."""
    return signed_in("bob", groups=TEAM)


def offer(browser: FlaskClient, session: int, to: str = "bob", **body: str) -> Any:
    return browser.post(f"/api/v1/sessions/{session}/handovers", json={"user": to, **body})


def offered(browser: FlaskClient, session: int, to: str = "bob", **body: str) -> int:
    """The offer's id."""
    answer = offer(browser, session, to, **body)
    assert answer.status_code == 201, answer.text
    return int(answer.json["id"])


def say(browser: FlaskClient, handover_id: int, answer: str = "accepted") -> Any:
    return browser.post(f"/api/v1/handovers/{handover_id}", json={"answer": answer})


def withdraw(browser: FlaskClient, handover_id: int) -> Any:
    return browser.delete(f"/api/v1/handovers/{handover_id}", headers=HEADER)


def sessions(browser: FlaskClient) -> list[int]:
    return [session["id"] for session in browser.get("/api/v1/sessions").json]


def expired(alice: FlaskClient, bob: FlaskClient, found: int, runtime: Runtime) -> None:
    with runtime.database.transaction() as db:
        db.execute(update(Handover).values(expires_at=now() - timedelta(seconds=1)))
