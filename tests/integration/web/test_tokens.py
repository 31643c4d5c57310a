"""API tokens: made, limited, listed, revoked; and those with which a program acts for a user."""

from __future__ import annotations

from datetime import timedelta

import pytest
from apiflask import APIFlask
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import select, update

from broker import cli
from broker import runtime as runtimes
from broker.database import now
from broker.errors import Forbidden
from broker.events import Event
from broker.identity import service as identity
from broker.identity import tokens
from broker.identity.models import SignIn
from broker.identity.rights import Right, Role
from broker.identity.service import Person
from broker.runtime import Runtime
from tests.integration.web.test_rights import bearer

HOUR = timedelta(hours=1)


def made(client: FlaskClient, **body: object) -> dict[str, object]:
    """A token of this browser's person."""
    answer = client.post("/api/v1/me/tokens", json={"name": "notebook", **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def test_a_token_works_until_it_is_revoked(app: APIFlask, alice: FlaskClient, runtime: Runtime) -> None:
    """Its secret is told once and kept as a hash only; revoking it twice is once."""
    token = made(alice, rights=["launch"])
    program = bearer(app, str(token["token"]))
    assert program.post("/api/v1/sessions", json={"environment": "light"}).status_code == 201
    assert program.post("/api/v1/sessions/1/tickets", json={}).status_code == 403
    (listed,) = alice.get("/api/v1/me/tokens").json
    assert (listed["name"], listed["rights"], listed["for_program"]) == ("notebook", ["launch", "read"], False)
    assert "token" not in listed
    with runtime.database.reading() as db:
        assert str(token["token"]) not in {row.token_hash for row in db.scalars(select(SignIn))}
    for _ in range(2):
        assert alice.delete(f"/api/v1/me/tokens/{token['id']}", json={}).status_code == 204
    assert program.get("/api/v1/me").status_code == 401
    assert alice.get("/api/v1/me/tokens").json == []


def test_a_token_ends_by_itself(app: APIFlask, alice: FlaskClient, runtime: Runtime) -> None:
    """After the days that were asked for."""
    program = bearer(app, str(made(alice, days=1)["token"]))
    assert program.get("/api/v1/me").status_code == 200
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).where(SignIn.rights.is_not(None)).values(expires_at=now() - HOUR))
    assert program.get("/api/v1/me").status_code == 401


def test_somebody_elses_token_is_not_found(alice: FlaskClient, admin: FlaskClient) -> None:
    """Nor is a browser's sign-in a token, which one could end by its number."""
    token = made(alice)
    assert admin.delete(f"/api/v1/me/tokens/{token['id']}", json={}).status_code == 404
    assert alice.delete("/api/v1/me/tokens/1", json={}).status_code == 404
    assert alice.get("/api/v1/me").status_code == 200


def test_there_is_an_end_to_tokens(alice: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a program that runs wild does not fill the table."""
    monkeypatch.setattr(tokens, "MOST", 2)
    made(alice), made(alice)
    assert alice.post("/api/v1/me/tokens", json={"name": "third"}).json["code"] == "over-quota"


@pytest.fixture
def catalogue(runtime: Runtime) -> Person:
    """A service account."""
    return identity.create_account(runtime, "catalogue", "Data catalogue", "cat-secret", role=Role.SERVICE)


def test_a_program_acts_for_a_user_and_the_user_can_end_it(
    app: APIFlask, alice: FlaskClient, runtime: Runtime, catalogue: Person
) -> None:
    """It launches the user's own session; the audit names the program; it gets neither account nor dashboard."""
    secret, _ = tokens.make(runtime, catalogue, "portal", [Right.ACT], 24 * HOUR)
    program = bearer(app, secret)
    given = program.post("/api/v1/act-for", json={"user": "alice"})
    assert given.status_code == 201, given.text
    for_alice = bearer(app, given.json["token"])
    session = for_alice.post("/api/v1/sessions", json={"environment": "light"}).json["id"]
    assert [one["id"] for one in alice.get("/api/v1/sessions").json] == [session]
    assert for_alice.get("/api/v1/me/tokens").status_code == 403
    (listed,) = alice.get("/api/v1/me/tokens").json
    assert (listed["name"], listed["for_program"]) == ("Data catalogue", True)
    with runtime.database.reading() as db:
        (event,) = db.scalars(select(Event).where(Event.action == "account:token", Event.subject == "alice"))
        assert event.actor == "catalogue"
    assert alice.delete(f"/api/v1/me/tokens/{listed['id']}", json={}).status_code == 204
    assert for_alice.get("/api/v1/me").status_code == 401


def test_what_a_program_was_given_ends_with_its_own_token(
    app: APIFlask, alice: FlaskClient, runtime: Runtime, catalogue: Person
) -> None:
    """One revocation, by the command line."""
    secret, row = tokens.make(runtime, catalogue, "portal", [Right.ACT], 24 * HOUR)
    given = bearer(app, secret).post("/api/v1/act-for", json={"user": "alice"}).json["token"]
    tokens.revoke(runtime, catalogue, row.id)
    assert bearer(app, given).get("/api/v1/me").status_code == 401
    assert bearer(app, secret).post("/api/v1/act-for", json={"user": "alice"}).status_code == 401


def test_a_program_without_the_right_acts_for_nobody(
    app: APIFlask, alice: FlaskClient, runtime: Runtime, catalogue: Person, person: Person
) -> None:
    """Nor does an account of a person, nor for more than reading, launching and connecting, nor for a program."""
    plain, _ = tokens.make(runtime, catalogue, "watcher", [], HOUR)
    assert bearer(app, plain).post("/api/v1/act-for", json={"user": "alice"}).status_code == 403
    with pytest.raises(Forbidden):
        tokens.act_for(runtime, person, "alice", [Right.READ], HOUR)
    with pytest.raises(Forbidden):
        tokens.act_for(runtime, catalogue, "alice", [Right.ACCOUNT], HOUR)
    good = bearer(app, tokens.make(runtime, catalogue, "portal", [Right.ACT], HOUR)[0])
    assert good.post("/api/v1/act-for", json={"user": "alice", "rights": ["account"]}).status_code == 422
    for nobody in ("catalogue", "nobody"):
        assert good.post("/api/v1/act-for", json={"user": nobody}).status_code == 404


def test_the_command_line_makes_lists_and_revokes_tokens(
    app: APIFlask, runtime: Runtime, catalogue: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret alone goes to standard output, so that a script can take it."""
    monkeypatch.setattr(runtimes, "current", lambda: runtime)
    run = CliRunner().invoke
    made = run(cli.main, ["account", "token", "catalogue", "--for", "the portal", "--right", "act"])
    assert made.exit_code == 0, made.output
    assert bearer(app, made.stdout.strip()).get("/api/v1/me").status_code == 200
    listed = run(cli.main, ["account", "tokens", "catalogue"]).stdout
    assert "act, read" in listed
    number = listed.split()[0]
    assert "no tokens" in run(cli.main, ["account", "tokens", "catalogue", "--revoke", number]).stdout
    wrong = run(cli.main, ["account", "token", "catalogue", "--for", "x", "--right", "fly"])
    assert wrong.exit_code == 1
    assert "'fly'" in wrong.stderr
