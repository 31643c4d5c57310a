"""Signing a program in from a browser: the code, the page, and the `beamdesk` command that uses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from apiflask import APIFlask
from click.testing import CliRunner
from flask.testing import FlaskClient
from playwright.sync_api import expect
from sqlalchemy import update

from broker import cli
from broker.client import account, signing_in
from broker.database import now
from broker.identity import devices
from broker.identity import service as identity
from broker.identity.models import DeviceGrant
from broker.runtime import Runtime
from tests.integration.web.conftest import NewMachines, OpenAs
from tests.integration.web.test_rights import bearer
from tests.waiting import until


def begun(app: APIFlask, **body: object) -> dict[str, str]:
    """What a program is told that asks to be signed in."""
    answer = app.test_client().post("/api/v1/device", json={"program": "a script", **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def asked(app: APIFlask, device_code: str) -> tuple[int, str]:
    """Status and code of the program's question for its token."""
    answer = app.test_client().post("/api/v1/device/token", json={"device_code": device_code})
    return answer.status_code, answer.json.get("code", "")


def test_a_program_is_signed_in_once_its_code_is_confirmed(app: APIFlask, alice: FlaskClient) -> None:
    """Before: not decided. Then its token, once, with what it asked for and no more."""
    told = begun(app)
    assert asked(app, told["device_code"]) == (409, "not-decided")
    sloppy = told["user_code"].replace("-", " ").lower()
    assert alice.get(f"/api/v1/device/{sloppy}").json["program"] == "a script"
    assert alice.post(f"/api/v1/device/{told['user_code']}", json={"allow": True}).status_code == 200
    given = app.test_client().post("/api/v1/device/token", json={"device_code": told["device_code"]}).json
    assert given["person"]["name"] == "alice"
    program = bearer(app, given["token"])
    assert program.get("/api/v1/sessions").status_code == 200
    assert program.get("/api/v1/me/tokens").status_code == 403
    assert asked(app, told["device_code"]) == (404, "not-found")
    assert alice.get("/api/v1/me/tokens").json[0]["name"] == "a script"


def test_a_program_that_was_refused_gets_nothing(app: APIFlask, alice: FlaskClient) -> None:
    """And its code cannot be confirmed any more."""
    told = begun(app)
    assert alice.post(f"/api/v1/device/{told['user_code']}", json={"allow": False}).status_code == 200
    assert asked(app, told["device_code"]) == (403, "forbidden")
    assert alice.post(f"/api/v1/device/{told['user_code']}", json={"allow": True}).status_code == 404


def test_a_program_gets_no_right_that_its_user_has_not(app: APIFlask, alice: FlaskClient) -> None:
    """Whatever it asked for."""
    told = begun(app, rights=["launch", "operate"])
    alice.post(f"/api/v1/device/{told['user_code']}", json={"allow": True})
    given = app.test_client().post("/api/v1/device/token", json={"device_code": told["device_code"]}).json
    assert given["rights"] == ["launch", "read"]


def test_a_code_that_is_old_opens_nothing(app: APIFlask, alice: FlaskClient, runtime: Runtime) -> None:
    """Neither for the user nor for the program, confirmed or not."""
    told = begun(app)
    alice.post(f"/api/v1/device/{told['user_code']}", json={"allow": True})
    with runtime.database.transaction() as db:
        db.execute(update(DeviceGrant).values(expires_at=now() - timedelta(seconds=1)))
    assert asked(app, told["device_code"]) == (404, "not-found")
    assert alice.get(f"/api/v1/device/{told['user_code']}").status_code == 404


def test_two_that_ask_at_once_get_one_token(each_runtime: Runtime) -> None:
    """On both databases."""
    person = identity.create_account(each_runtime, "alice", "Alice", "alice-secret")
    told = devices.begin(each_runtime, "a script", "192.0.2.1", [])
    devices.decide(each_runtime, person, told.user_code, allow=True)
    got: list[str] = []

    def ask() -> None:
        try:
            got.append(devices.redeem(each_runtime, told.device_code)[0])
        except Exception as error:
            got.append(type(error).__name__)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(token.startswith("bd_") for token in got) == [False, False, False, True], got


def test_programs_that_flood_are_held_back(app: APIFlask, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one address, and in all; what was begun before goes on."""
    monkeypatch.setattr(devices, "MOST_FROM_ONE", 2)
    first = begun(app)
    begun(app)
    refused = app.test_client().post("/api/v1/device", json={"program": "x"})
    assert (refused.status_code, refused.json["code"]) == (429, "too-many-attempts")
    assert asked(app, first["device_code"]) == (409, "not-decided")


def test_the_command_signs_in_by_the_page_and_lists_launches_and_ends(
    open_as: OpenAs,
    site: str,
    runtime: Runtime,
    new_machines: NewMachines,
    make_ready: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of it against the application on a port, the code confirmed in Chromium."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(devices, "INTERVAL", 0)
    page = open_as("alice", "/device")
    codes: list[str] = []
    signed: list[account.Account] = []
    shown = lambda code, address, with_code: codes.append(code)  # noqa: E731
    program = threading.Thread(target=lambda: signed.append(signing_in.begin(site, show=shown)))
    program.start()
    until(lambda: codes, "the code", 10)
    page.get_by_label("The code that the program shows").fill(codes[0].lower())
    page.keyboard.press("Enter")
    expect(page.get_by_text("launch, extend, share and end your desktops")).to_be_visible()
    page.get_by_role("button", name="Let it sign in").click()
    expect(page.get_by_role("heading", name="Signed in")).to_be_visible()
    program.join(30)
    account.save(signed[0])
    assert (tmp_path / "beamdesk/account.json").stat().st_mode & 0o777 == 0o600

    run = CliRunner().invoke
    assert "You have no desktops" in run(cli.main, ["ls"]).output
    new_machines("light-ral")
    monkeypatch.setattr("broker.client.desktops.LOOK_EVERY", 0.1)
    launched = threading.Thread(target=lambda: make_ready(_first_session(runtime)))
    launched.start()
    done = run(cli.main, ["launch", "light", "--connect", "none"])
    launched.join(30)
    assert done.exit_code == 0, done.output
    assert "Session 1 is ready" in done.output
    assert json.loads(run(cli.main, ["ls", "--json"]).output)[0]["state"] == "ready"
    assert "light" in run(cli.main, ["ls"]).output
    saved = run(cli.main, ["rdp", "--save", str(tmp_path / "one.rdp")])
    assert saved.exit_code == 0, saved.output
    assert "full address" in (tmp_path / "one.rdp").read_text()
    assert "Session 1 is ending" in run(cli.main, ["end", "--yes"]).output
    assert "signed out" in run(cli.main, ["logout"]).output
    gone = run(cli.main, ["ls"])
    assert gone.exit_code == 1
    assert "beamdesk login" in gone.stderr


def _first_session(runtime: Runtime) -> int:
    from sqlalchemy import select

    from broker.sessions.models import SessionState, UserSession

    def preparing() -> int | None:
        with runtime.database.reading() as db:
            return db.scalar(select(UserSession.id).where(UserSession.state == SessionState.PREPARING))

    until(preparing, "the launch", 20)
    return preparing() or 0


def test_tokens_are_made_and_revoked_on_their_page(open_as: OpenAs) -> None:
    """At a phone's width; the secret is shown once."""
    page = open_as("alice", "/tokens", width=390)
    expect(page.get_by_text("You have no tokens.")).to_be_visible()
    page.get_by_role("button", name="New token").click()
    page.get_by_label("What for").fill("my notebook")
    page.get_by_label("launch, extend, share and end your desktops").check()
    page.get_by_role("button", name="Make it").click()
    secret = page.locator("[data-secret]")
    expect(secret).to_contain_text("bd_")
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_text("my notebook")).to_be_visible()
    expect(secret).to_have_text("")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.get_by_text("You have no tokens.")).to_be_visible()


def test_the_command_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, or something else does; nobody is signed in."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    run = CliRunner().invoke
    assert "beamdesk login" in run(cli.main, ["ls"]).stderr
    nobody = run(cli.main, ["login", "http://127.0.0.1:9", "--no-open"])
    assert nobody.exit_code == 1
    assert "does not answer" in nobody.stderr
