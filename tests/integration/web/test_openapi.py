"""The API keeps to its own description, whatever it is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from apiflask import APIFlask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans, one_of
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from broker.connections import keys
from broker.courses import service as courses
from broker.courses.service import Lesson
from broker.database import now
from broker.identity import devices, tokens
from broker.identity import service as identity
from broker.identity.service import Person
from broker.pools.allocation import Wish
from broker.runtime import Runtime
from broker.sessions import reservations
from broker.sessions.reservations import Plan
from broker.sharing import service as sharing
from broker.sharing import support
from tests.conftest import NewPerson
from tests.integration.web.conftest import NewMachines
from tests.integration.web.test_changes import KEY

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EXAMPLES = 15  # of each operation


@pytest.fixture
def administrator(new_person: NewPerson) -> Person:
    """Who calls everything."""
    return new_person("ada", admin=True)


@pytest.fixture
def description(
    app: APIFlask, ready_session: int, alice: FlaskClient, new_machines: NewMachines, administrator: Person
) -> Any:
    """The API's own description, of a deployment in which every list has something in it."""
    new_machines("light-ral", 3)
    assert alice.post("/api/v1/sessions", json={"environment": "science"}).status_code == 201
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)


def test_every_answer_is_one_that_the_description_names(
    description: Any, runtime: Runtime, ready_session: int, new_machines: NewMachines
) -> None:
    """No request makes a server error, and what is answered has the form that is promised."""
    seen: set[tuple[str, int]] = set()
    real = {"session_id": ready_session, "machine_id": new_machines("light-dl")[0], "name": "light-ral"}
    ada, begin = identity.account(runtime, "ada"), now()
    plan = Plan("Course", "group", 1, begin, begin + timedelta(hours=1), Wish("light"))
    real["reservation_id"] = reservations.make(runtime, ada, plan).id
    lesson = Lesson("Lesson", "light", 1, begin, begin + timedelta(hours=1))
    course, token = courses.make(runtime, ada, lesson)
    courses.accept(runtime, ada, token or "", pictures=True)
    real |= {"course_id": course.id, "user_id": ada.user_id, "teacher": "nobody"}
    real["user_code"] = devices.begin(runtime, "a script", "192.0.2.1", []).user_code
    real["token_id"] = tokens.make(runtime, ada, "a script", [], timedelta(days=1))[1].id
    real["key_id"] = keys.add(runtime, ada, "laptop", KEY).id
    alice, wish = identity.account(runtime, "alice"), {"control": False, "lasts": timedelta(hours=1)}
    real["share_id"] = sharing.with_user(runtime, alice, ready_session, "ada", **wish).id
    real["recording_id"] = 1
    real["request_id"] = support.ask(runtime, ada, ready_session, "why").id
    real["sign_in_id"] = identity.sign_in(runtime, "ada", "ada-secret")[1].sign_in_id
    for found in description.get_all_operations():
        operation = found.ok()
        token, _ = identity.sign_in(runtime, "ada", "ada-secret")
        _try(operation, {"Authorization": f"Bearer {token}"}, real, seen)
    good = {label for label, status in seen if status < 300}
    assert len(good) >= 20, f"few operations could be done at all: {sorted(good)}"


def _try(operation: Any, headers: dict[str, str], real: dict[str, Any], seen: set[tuple[str, int]]) -> None:
    """Call the operation with what its description allows and with what it does not, on things that exist or not."""
    modes = [GenerationMode.POSITIVE]
    if operation.body or operation.query or operation.path_parameters:
        modes.append(GenerationMode.NEGATIVE)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=one_of(operation.as_strategy(generation_mode=mode) for mode in modes), exists=booleans())
    def check(case: Case, exists: bool) -> None:
        if exists:
            case.path_parameters = {name: real[name] for name in case.path_parameters}
            if isinstance(case.body, dict) and "environment" in case.body:
                case.body["environment"] = "light"
        answer = case.call_and_validate(headers=headers, checks=CHECKS)
        seen.add((operation.label, answer.status_code))

    check()
