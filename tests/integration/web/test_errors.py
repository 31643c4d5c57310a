"""Errors: problem+json for programs, a page for people, and nothing of the inside for anybody."""

from __future__ import annotations

from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from broker.sessions import overview
from web.app import MOST_BYTES

MEMBERS = {"type", "title", "status", "detail", "hint", "code"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/v1/nothing", None, 404, "not-found"),
        ("GET", "/api/v1/sessions/99999999999999999999", None, 404, "not-found"),
        ("DELETE", "/api/v1/environments", None, 405, "method-not-allowed"),
        ("POST", "/api/v1/sessions", b"{", 400, "bad-request"),
        ("POST", "/api/v1/sessions", b'{"environment": "' + b"x" * MOST_BYTES + b'"}', 413, "body-too-large"),
        ("POST", "/api/v1/sessions", b'{"environment": "\\ud800"}', 422, "invalid-request"),
        ("POST", "/api/v1/sessions", b'{"environment": "a\\u0000b"}', 422, "invalid-request"),
        ("GET", "/api/v1/sessions?limit=0", None, 422, "invalid-request"),
        ("GET", "/api/v1/sessions?colour=red", None, 422, "invalid-request"),
    ],
)
def test_a_bad_request_gets_a_problem_that_says_what_to_do(
    alice: FlaskClient, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    """With the right status, and all members of RFC 9457 that we promise."""
    answer = alice.open(path, method=method, data=body, content_type="application/json")
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert answer.json["code"] == code
    assert set(answer.json) >= MEMBERS
    assert answer.json["hint"]


def test_a_405_says_what_the_address_takes(alice: FlaskClient) -> None:
    """In the Allow header."""
    answer = alice.post("/api/v1/me", json={})
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_people_get_a_page(alice: FlaskClient) -> None:
    """With the way back, and without JSON."""
    answer = alice.get("/nowhere")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "There is nothing at this address." in answer.text
    assert 'href="/"' in answer.text


def _break(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(overview, "active", broken)


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/"])
def test_a_fault_of_ours_shows_a_number_and_no_trace(
    alice: FlaskClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """The number stands in the log beside the traceback."""
    _break(monkeypatch, RuntimeError("the secret inside"))
    answer = alice.get(path)
    assert answer.status_code == 500
    assert "secret inside" not in answer.text
    assert "Traceback" not in answer.text
    logged = capsys.readouterr()
    number = answer.text.split("(error ")[1].split(")")[0]
    assert number in logged.out + logged.err


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/"])
def test_a_database_that_is_away_is_said_so(alice: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """503, nothing changed, try again: not a fault without a name."""
    _break(monkeypatch, OperationalError("select", {}, Exception("no server")))
    answer = alice.get(path)
    assert answer.status_code == 503
    assert "The database does not answer." in answer.text


def test_the_page_that_says_that_the_database_is_away_needs_no_database(
    app: APIFlask, alice: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the error would end in another one."""

    def away() -> None:
        raise OperationalError("select", {}, Exception("no server"))

    monkeypatch.setattr(type(app.extensions["beamdesk"].runtime.database), "reading", lambda _: away())
    answer = alice.get("/")
    assert answer.status_code == 503
    assert "The database does not answer." in answer.text


def test_every_code_is_explained(alice: FlaskClient) -> None:
    """The link in `type` leads to a line of the page of errors."""
    problem = alice.get("/api/v1/sessions/4711").json
    page = alice.get("/docs/errors").text
    assert problem["type"] == "/docs/errors#not-found"
    assert 'id="not-found"' in page
    assert 'id="over-quota"' in page


def test_the_api_describes_itself_without_anybody_elses_scripts(alice: FlaskClient) -> None:
    """Each operation has a line, and no address leads off this site."""
    page = alice.get("/docs/api").text
    for path in alice.get("/api/v1/openapi.json").json["paths"]:
        assert f"<code>{path}</code>" in page
    assert "//cdn" not in page
    assert alice.get("/docs").status_code == 404
