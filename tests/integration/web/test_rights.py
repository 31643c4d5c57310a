"""Who may do what: each operation of the API, tried by each role, by limited tokens, and by nobody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from broker.identity import service as identity
from broker.identity.rights import MAY, Right, Role
from broker.runtime import Runtime
from tests.integration.web.rights_table import DOCUMENT, MODULE, table
from tests.made import parts

NOBODYS = "0"  # an id that no thing has


@pytest.fixture
def description(app: APIFlask) -> dict[str, Any]:
    """The paths of the API's own description."""
    paths: dict[str, Any] = app.test_client().get("/api/v1/openapi.json").json["paths"]
    return paths


def operations(description: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    """Method, path and right of each operation."""
    return [
        (method.upper(), path, operation.get("x-right"))
        for path, methods in description.items()
        for method, operation in methods.items()
        if method != "parameters"
    ]


def refused(client: FlaskClient, method: str, path: str) -> str | None:
    """Try it with no body, on things that do not exist: the code with which it is refused for want of a right."""
    address = re.sub(r"\{\w+\}", "nothing", re.sub(r"\{\w+_id\}", NOBODYS, path))
    answer = client.open(address, method=method, json={}, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    return answer.json["code"] if answer.status_code in (401, 403) else None


def bearer(app: APIFlask, token: str) -> FlaskClient:
    """A program that shows this token."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SERVICE])
def test_each_role_may_do_what_the_table_says_and_nothing_else(
    app: APIFlask, runtime: Runtime, description: dict[str, Any], role: Role
) -> None:
    """Every operation of the API: refused for want of a right exactly where the role has not got it."""
    identity.create_account(runtime, "ro", "Ro", "ro-secret", role=role)
    wrong = []
    for method, path, right in operations(description):
        client = bearer(app, identity.sign_in(runtime, "ro", "ro-secret")[0])
        may = right is None or right in MAY[role]
        if right is not None and (refused(client, method, path) != "forbidden") != may:
            wrong.append(f"{method} {path}")
    assert wrong == []


def test_nobody_does_anything_without_signing_in(app: APIFlask, description: dict[str, Any]) -> None:
    """But for what is for everybody."""
    for method, path, right in operations(description):
        assert (refused(app.test_client(), method, path) == "not-signed-in") == (right is not None), path


def test_a_view_that_names_no_right_stops_the_start(app: APIFlask) -> None:
    """So that nobody forgets it."""
    from web import rights

    app.add_url_rule("/api/v1/forgotten", view_func=lambda: "", endpoint="forgotten")
    with pytest.raises(LookupError, match="get /api/v1/forgotten"):
        rights.operations(app)


def test_the_page_of_rights_is_what_the_api_says(description: dict[str, Any]) -> None:
    """docs/security.md is what `python -m tests.integration.web.rights_table --write` makes."""
    assert parts(DOCUMENT.read_text(), MODULE)[1] == table(description)


def test_a_token_of_an_administrator_does_only_what_it_was_made_for(
    app: APIFlask, admin: FlaskClient, description: dict[str, Any]
) -> None:
    """Each operation that needs another right is refused, though its owner has it."""
    body = {"name": "watcher", "rights": ["look"]}
    watcher = bearer(app, admin.post("/api/v1/me/tokens", json=body).json["token"])
    assert watcher.get("/api/v1/admin/overview").status_code == 200
    for method, path, right in operations(description):
        if right not in (None, "read", "look"):
            assert refused(watcher, method, path) == "forbidden", path


def test_no_token_is_more_than_its_owner(alice: FlaskClient) -> None:
    """Nor than the token that makes it."""
    assert alice.post("/api/v1/me/tokens", json={"name": "x", "rights": ["operate"]}).status_code == 403
    assert alice.post("/api/v1/me/tokens", json={"name": "x", "rights": ["act"]}).status_code == 422


def test_support_sees_the_dashboard_without_its_buttons_and_its_audit_log(app: APIFlask, runtime: Runtime) -> None:
    """And steers nothing by the pages' own addresses either."""
    identity.create_account(runtime, "sue", "Sue", "sue-secret", role=Role.SUPPORT)
    sue = bearer(app, identity.sign_in(runtime, "sue", "sue-secret")[0])
    page = sue.get("/admin/")
    assert page.status_code == 200
    assert "Dashboard" in page.text
    assert not re.search(r'data-action="(resize|drain|reserve|retire|end)', page.text)
    assert sue.get("/admin/panels/pools").status_code == 200
    assert sue.get("/admin/panels/events").status_code == 403
    assert 'id="events"' not in page.text


def test_support_sees_a_session_of_others_but_neither_ends_nor_opens_it(
    app: APIFlask, runtime: Runtime, ready_session: int
) -> None:
    """An operator ends it, and opens it neither."""
    one = f"/api/v1/sessions/{ready_session}"
    for name, role, ends in (("sue", Role.SUPPORT, 403), ("oli", Role.OPERATOR, 200)):
        identity.create_account(runtime, name, name, f"{name}-secret", role=role)
        client = bearer(app, identity.sign_in(runtime, name, f"{name}-secret")[0])
        assert client.get(one).status_code == 200
        assert client.post(f"{one}/tickets", json={}).status_code == 403
        assert client.get(f"{one}/connection.rdp").status_code == 403
        assert client.delete(one, json={}).status_code == ends


def test_every_right_is_somebodys() -> None:
    """And every role has a line."""
    assert set(MAY) == set(Role)
    assert set().union(*MAY.values()) == set(Right)
