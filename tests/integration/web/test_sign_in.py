"""Signing in: who gets in, for how long, and what the browser keeps."""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from broker.database import now
from broker.identity.guessing import OF_ADDRESS, OF_NAME_HERE
from broker.identity.models import FailedSignIn, SignIn
from broker.runtime import Runtime
from broker.settings import WebSettings
from tests.conftest import NewPerson
from tests.integration.web.conftest import AppWith, SignedIn

ALICE = {"name": "alice", "password": "alice-secret"}


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(app: APIFlask, new_person: NewPerson) -> None:
    """HttpOnly and SameSite=Lax; Secure is for https only, or a demo on http could not sign in."""
    new_person("alice")
    cookie = app.test_client().post("/api/v1/sign-in", json=ALICE).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_under_https_the_cookie_travels_encrypted_only(app_with: AppWith, new_person: NewPerson) -> None:
    """And its name is one that no neighbouring host can set."""
    new_person("alice")
    browser = app_with(web=WebSettings(public_url="https://desk.example")).test_client()
    answer = browser.post("/api/v1/sign-in", json=ALICE, base_url="https://desk.example")
    assert answer.headers["Set-Cookie"].startswith("__Host-beamdesk=")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_a_token_serves_programs(app: APIFlask, new_person: NewPerson) -> None:
    """In an Authorization header, without a cookie and without any browser's headers."""
    new_person("alice", groups=("few",))
    token = app.test_client().post("/api/v1/sign-in", json=ALICE).json["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    program = app.test_client(use_cookies=False)
    assert program.get("/api/v1/me", headers=bearer).json == {
        "name": "alice",
        "full_name": "Alice",
        "role": "user",
        "groups": ["few"],
        "rights": ["read", "launch", "connect", "teach", "account"],
    }
    assert program.post("/api/v1/sign-out", headers=bearer).status_code == 204
    assert program.get("/api/v1/me", headers=bearer).status_code == 401


def test_a_wrong_password_and_an_unknown_name_look_alike(app: APIFlask, new_person: NewPerson) -> None:
    """Nobody learns which names exist."""
    new_person("alice")
    wrong = app.test_client().post("/api/v1/sign-in", json={**ALICE, "password": "x"})
    nobody = app.test_client().post("/api/v1/sign-in", json={"name": "zoe", "password": "x"})
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.json == nobody.json
    assert wrong.json["code"] == "wrong-password"


def test_guessing_is_stopped_even_with_the_right_password(app: APIFlask, new_person: NewPerson) -> None:
    """After some failures the name must wait, and is told how long."""
    new_person("alice")
    for _ in range(OF_NAME_HERE):
        app.test_client().post("/api/v1/sign-in", json={**ALICE, "password": "guess"})
    answer = app.test_client().post("/api/v1/sign-in", json=ALICE)
    assert answer.status_code == 429
    assert answer.json["code"] == "too-many-attempts"
    assert int(answer.headers["Retry-After"]) > 0


def test_ten_thousand_bad_sign_ins_let_nobody_in_and_keep_nothing(
    app_with: AppWith, runtime: Runtime, new_person: NewPerson
) -> None:
    """From several addresses, for known and unknown names, with the right password among them once it is too late:
    each is refused, few are written down, memory stays flat, and who signs in from where she always does gets in."""
    new_person("alice")
    app = app_with(web=WebSettings(requests_per_minute=200))
    home = {"REMOTE_ADDR": "192.0.2.1"}
    assert app.test_client().post("/api/v1/sign-in", json=ALICE, environ_base=home).status_code == 200
    guesser, statuses, memory = app.test_client(use_cookies=False), Counter[int](), 0
    for number in range(10_000):
        memory = memory or (number > 1000) * resident()
        guess = {"name": ("alice", "zoe", f"n{number}")[number % 3], "password": f"guess {number}"}
        wish = ALICE if number > 9000 else guess
        strangers = {"REMOTE_ADDR": f"198.51.100.{number % 5}"}
        statuses[guesser.post("/api/v1/sign-in", json=wish, environ_base=strangers).status_code] += 1
    assert set(statuses) == {401, 429}
    with runtime.database.reading() as db:
        assert db.scalar(select(func.count()).select_from(FailedSignIn)) == statuses[401] <= 5 * OF_ADDRESS
    assert resident() - memory < 10e6
    assert app.test_client().post("/api/v1/sign-in", json=ALICE, environ_base=home).status_code == 200


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_signing_out_ends_the_sign_in_itself(alice: FlaskClient, app: APIFlask) -> None:
    """Not only the cookie: who copied the token is out, too."""
    token = alice.get_cookie("beamdesk")
    assert token is not None
    answer = alice.post("/api/v1/sign-out", headers={"X-Requested-With": "test"})
    assert answer.status_code == 204
    assert alice.get_cookie("beamdesk") is None
    copied = {"Authorization": f"Bearer {token.value}"}
    assert app.test_client().get("/api/v1/me", headers=copied).status_code == 401


def test_signing_out_twice_is_signing_out_once(alice: FlaskClient) -> None:
    """In two tabs, or with a cookie that is worth nothing any more: it goes, and that is no error."""
    header = {"X-Requested-With": "test"}
    token = alice.get_cookie("beamdesk")
    assert token is not None
    alice.post("/api/v1/sign-out", headers=header)
    alice.set_cookie("beamdesk", token.value)
    assert alice.post("/api/v1/sign-out", headers=header).status_code == 204
    assert alice.get_cookie("beamdesk") is None


def test_an_expired_sign_in_is_an_error_for_programs_and_a_page_for_people(
    alice: FlaskClient, runtime: Runtime
) -> None:
    """No page asks for ever with a token that has expired: it leads to sign-in, and back."""
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).values(expires_at=now() - timedelta(seconds=1)))
    api = alice.get("/api/v1/sessions")
    assert (api.status_code, api.json["code"]) == (401, "not-signed-in")
    page = alice.get("/history?before=3")
    assert page.status_code == 302
    assert page.location == "/sign-in?next=/history?before%3D3"
    fragment = alice.get("/fragments/sessions", headers={"HX-Request": "true"})
    assert (fragment.status_code, fragment.data) == (401, b"")


def test_the_form_works_without_scripts_and_goes_where_one_wanted_to(app: APIFlask, new_person: NewPerson) -> None:
    """A plain form, an honest error, and on to the wanted page."""
    new_person("alice")
    browser = app.test_client()
    refused = browser.post("/sign-in?next=/history", data={**ALICE, "password": "x"})
    assert refused.status_code == 401
    assert "Name and password do not match." in refused.text
    assert 'value="alice"' in refused.text
    answer = browser.post("/sign-in?next=/history", data=ALICE)
    assert (answer.status_code, answer.location) == (303, "/history")
    assert browser.get("/sign-in").status_code == 302, "who is signed in need not sign in"


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_the_way_after_signing_in_never_leads_to_another_site(
    app: APIFlask, new_person: NewPerson, wanted: str
) -> None:
    """An open redirect would make our sign-in page a phisher's."""
    new_person("alice")
    answer = app.test_client().post("/sign-in", query_string={"next": wanted}, data=ALICE)
    assert (answer.status_code, answer.location) == (303, "/")


def test_nobody_does_anything_without_signing_in(app: APIFlask) -> None:
    """Every address of the API but sign-in, sign-out, health and its description."""
    spec = app.test_client().get("/api/v1/openapi.json").json
    browser = app.test_client()
    open_to_all = {"/healthz", "/api/v1/sign-in", "/api/v1/sign-out", "/metrics"}  # the last one on this very host
    for path, methods in spec["paths"].items():
        for method in set(methods) - {"parameters"} if path not in open_to_all else ():
            address = re.sub(r"\{\w+_id\}", "1", path).replace("{name}", "light-ral")
            answer = browser.open(
                address, method=method.upper(), json={"environment": "light"} if method in ("post", "patch") else None
            )
            assert answer.status_code in (401, 422), f"{method} {path} answered {answer.status_code}"
            if answer.status_code == 422:
                assert method in ("post", "patch")


def test_two_people_in_one_deployment_see_only_their_own(signed_in: SignedIn, ready_session: int) -> None:
    """Bob cannot even learn that Alice's session exists."""
    bob = signed_in("bob")
    assert bob.get("/api/v1/sessions").json == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/extend"), ("POST", "/tickets")):
        address = f"/api/v1/sessions/{ready_session}{path}"
        answer = bob.open(
            address, method=method, json={} if method == "POST" else None, headers={"X-Requested-With": "t"}
        )
        missing = bob.open(
            address.replace(str(ready_session), "4711"),
            method=method,
            json={} if method == "POST" else None,
            headers={"X-Requested-With": "t"},
        )
        assert answer.status_code == missing.status_code == 404
        assert answer.json["code"] == "not-found"
