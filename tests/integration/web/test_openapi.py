"""The API keeps to its own description, whatever it is sent."""

from __future__ import annotations

from collections.abc import Callable
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
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import update

from broker.connections import keys
from broker.courses import service as courses
from broker.courses.service import Lesson
from broker.database import now
from broker.identity import devices, tokens
from broker.identity import service as identity
from broker.identity.models import User
from broker.identity.rights import MAY, Right, Role
from broker.identity.service import Person
from broker.pools.allocation import Wish
from broker.runtime import Runtime
from broker.sessions import reservations
from broker.sessions.models import UserSession
from broker.sessions.reservations import Plan
from broker.sharing import handover, support
from broker.sharing import service as sharing
from tests.conftest import NewPerson
from tests.integration.web.conftest import NewMachines
from tests.integration.web.test_changes import KEY

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES, FEW = 8, 3  # of each operation: as an administrator, as any other role


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


@pytest.fixture
def real(runtime: Runtime, description: Any, ready_session: int, new_machines: NewMachines) -> dict[str, Any]:
    """What stands in paths, of things that exist: the session is alice's, nearly all else ada's."""
    known = {"session_id": ready_session, "machine_id": new_machines("light-dl")[0], "name": "light-ral"}
    ada, begin = identity.account(runtime, "ada"), now()
    plan = Plan("Course", "group", 1, begin, begin + timedelta(hours=1), Wish("light"))
    known["reservation_id"] = reservations.make(runtime, ada, plan).id
    lesson = Lesson("Lesson", "light", 1, begin, begin + timedelta(hours=1))
    course, token = courses.make(runtime, ada, lesson)
    courses.accept(runtime, ada, token or "", pictures=True)
    known |= {"course_id": course.id, "user_id": ada.user_id, "teacher": "nobody"}
    known["user_code"] = devices.begin(runtime, "a script", "192.0.2.1", []).user_code
    known["token_id"] = tokens.make(runtime, ada, "a script", [], timedelta(days=1))[1].id
    known["key_id"] = keys.add(runtime, ada, "laptop", KEY).id
    alice, wish = identity.account(runtime, "alice"), {"control": False, "lasts": timedelta(hours=1)}
    known["share_id"] = sharing.with_user(runtime, alice, ready_session, "ada", **wish).id
    known["recording_id"] = 1
    known["request_id"] = support.ask(runtime, ada, ready_session, "why").id
    with runtime.database.transaction() as db:
        db.execute(update(User).where(User.name.in_(("alice", "ada"))).values(groups=["rb123"]))
        db.execute(update(UserSession).values(group="rb123"))
    known["handover_id"] = handover.offer(runtime, alice, ready_session, "ada").id
    known["sign_in_id"] = identity.sign_in(runtime, "ada", "ada-secret")[1].sign_in_id
    return known


def test_every_answer_is_one_that_the_description_names(
    description: Any, runtime: Runtime, real: dict[str, Any]
) -> None:
    """No request makes a server error, and what is answered has the form that is promised."""
    seen: set[tuple[str, int]] = set()
    for found in description.get_all_operations():
        operation = found.ok()
        token, _ = identity.sign_in(runtime, "ada", "ada-secret")

        def check(case: Case, token: str = token, label: str = operation.label) -> None:
            checks = [*CHECKS, negative_data_rejection] if _is_wrong(case) else CHECKS
            answer = case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=checks)
            seen.add((label, answer.status_code))

        _try(operation, real, EXAMPLES, check)
    good = {label for label, status in seen if status < 300}
    assert len(good) >= 20, f"few operations could be done at all: {sorted(good)}"


# What others than the owner may do with a session: those who look at everybody's, those who ask to help, operators.
OF_OTHERS = {
    "GET /api/v1/sessions/{session_id}": Right.LOOK,
    "POST /api/v1/sessions/{session_id}/join-requests": Right.JOIN,
    "DELETE /api/v1/sessions/{session_id}": Right.OPERATE,
    **{f"POST /api/v1/sessions/{{session_id}}/{what}": Right.OPERATE for what in ("extend", "keep", "stay", "wish")},
}


@pytest.mark.parametrize("role", [*(role for role in Role if role is not Role.ADMIN), None])
def test_no_role_breaks_anything_or_gets_at_what_is_not_its_own(
    description: Any, runtime: Runtime, real: dict[str, Any], role: Role | None
) -> None:
    """Nor does nobody. Who has not the right is told so, and another one's session is there for nobody."""
    rights = MAY[role] if role else frozenset()
    service = _service_token(runtime) if role is Role.SERVICE else ""
    for found in description.get_all_operations():
        operation = found.ok()
        right, label = operation.definition.raw.get("x-right"), operation.label
        token = service or (_sign_in(runtime, role) if role else "")  # anew, as the one before may have signed out
        headers = {"Authorization": f"Bearer {token}"} if token else {}

        def check(case: Case, right: str | None = right, label: str = label, headers: dict[str, str] = headers) -> None:
            answer = case.call_and_validate(headers=headers, checks=[not_a_server_error, status_code_conformance])
            if answer.status_code < 300:
                assert right is None or right in rights, f"got {label} without the right"
                assert "{session_id}" not in label or OF_OTHERS.get(label) in rights, f"got at alice's by {label}"

        _try(operation, real, FEW, check)


def _sign_in(runtime: Runtime, role: Role) -> str:
    identity.create_account(runtime, "ro", "Ro", "ro-secret", role=role)
    return identity.sign_in(runtime, "ro", "ro-secret")[0]


def _service_token(runtime: Runtime) -> str:
    person = identity.create_account(runtime, "ro", "Ro", "ro-secret", role=Role.SERVICE)
    return tokens.make(runtime, person, "a portal", [Right.ACT], timedelta(days=1))[0]


def _is_wrong(case: Case) -> bool:
    """Whether what is sent is not as described, beyond path and headers, in whose place we may have put right ones."""
    assert case.meta is not None
    ours = (ParameterLocation.PATH, ParameterLocation.HEADER, ParameterLocation.COOKIE)
    return any(part.mode.is_negative for place, part in case.meta.components.items() if place not in ours)


def _try(operation: Any, real: dict[str, Any], examples: int, check: Callable[[Case], None]) -> None:
    """Call the operation with what its description allows and with what it does not, on things that exist or not."""
    modes = [GenerationMode.POSITIVE]
    if operation.body or operation.query or operation.path_parameters:
        modes.append(GenerationMode.NEGATIVE)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=one_of(operation.as_strategy(generation_mode=mode) for mode in modes), exists=booleans())
    def run(case: Case, exists: bool) -> None:
        if exists:
            case.path_parameters = {name: real[name] for name in case.path_parameters}
            if isinstance(case.body, dict) and "environment" in case.body:
                case.body["environment"] = "light"
        check(case)

    run()
