"""What protects browsers from other sites, on the whole application."""

from __future__ import annotations

import re
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from broker.settings import WebSettings
from tests.conftest import NewPerson
from tests.integration.web.conftest import AppWith, NewMachines

LIGHT = {"environment": "light"}
PAGES = ["/", "/history", "/docs/api", "/docs/errors", "/nowhere", "/api/v1/me"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:6080"},
    ],
)
def test_another_sites_page_cannot_launch_or_end(
    alice: FlaskClient, new_machines: NewMachines, headers: dict[str, str]
) -> None:
    """Though the browser sends our cookie with it."""
    new_machines("light-ral")
    answer = alice.post("/api/v1/sessions", json=LIGHT, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (403, "wrong-origin")
    assert alice.get("/api/v1/sessions").json == []


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
def test_what_a_plain_form_can_send_is_refused(alice: FlaskClient, ready_session: int, content_type: str) -> None:
    """An old browser sends no Origin; JSON or a header of ours is what no form can fake."""
    answer = alice.post("/api/v1/sessions", data=b'{"environment": "light"}', content_type=content_type)
    assert (answer.status_code, answer.json["code"]) == (403, "wrong-origin")
    assert alice.delete(f"/api/v1/sessions/{ready_session}").status_code == 403


@pytest.mark.parametrize("base", ["http://localhost:8080", "http://127.0.0.1:8080"])
def test_our_own_pages_may_under_each_name_of_the_host(
    alice: FlaskClient, new_machines: NewMachines, base: str
) -> None:
    """The demo is opened as localhost and as 127.0.0.1."""
    new_machines("light-ral")
    token = alice.get_cookie("beamdesk")
    assert token is not None
    alice.set_cookie("beamdesk", token.value, domain=base.split("/")[2].split(":")[0])
    headers = {"Origin": base, "Sec-Fetch-Site": "same-origin"}
    assert alice.post("/api/v1/sessions", json=LIGHT, headers=headers, base_url=base).status_code == 201


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_carries_its_guards(alice: FlaskClient, path: str) -> None:
    """Our own scripts and styles only, in nobody's frame, kept by no cache."""
    answer = alice.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "ws://localhost:6080" in policy["connect-src"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def test_scripts_are_kept_under_an_address_of_their_version(alice: FlaskClient) -> None:
    """A browser asks once for each version; a page never mixes two."""
    [address] = set(re.findall(r'src="(/static/[0-9a-f]{12}/js/page\.js)"', alice.get("/").text))
    answer = alice.get(address)
    assert answer.status_code == 200
    assert answer.cache_control.public
    assert answer.cache_control.max_age == 365 * 24 * 3600
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert alice.get(re.sub(r"/[0-9a-f]{12}/", "/000000000000/", address)).status_code == 404


@pytest.mark.parametrize("path", ["/", "/history", "/admin/", "/docs/api", "/docs/errors", "/nowhere"])
def test_pages_hold_no_inline_script_or_style(admin: FlaskClient, ready_session: int, path: str) -> None:
    """The policy would not run them; an attribute that slips in would be a button that does nothing."""
    page = admin.get(path).text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_what_people_name_is_shown_as_text(alice: FlaskClient, ready_session: int) -> None:
    """Whatever a name holds, it is no markup."""
    page = alice.post("/sign-in", data={"name": "<script>alert(1)</script>", "password": "x"}).text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_who_asks_too_often_waits_and_others_do_not(app_with: AppWith, new_person: NewPerson) -> None:
    """Each person by itself, whatever address they come from; strangers by address."""
    app = app_with(web=WebSettings(requests_per_minute=60))
    alice, bob = (_signed_in(app, new_person, name) for name in ("alice", "bob"))
    answers = [alice.get("/api/v1/me") for _ in range(61)]
    assert [answer.status_code for answer in answers] == [*[200] * 60, 429]
    assert answers[-1].headers["Retry-After"] == "60"
    assert bob.get("/api/v1/me").status_code == 200
    strangers = [app.test_client().get("/sign-in", environ_base={"REMOTE_ADDR": "192.0.2.9"}) for _ in range(61)]
    assert strangers[-1].status_code == 429
    assert app.test_client().get("/sign-in", environ_base={"REMOTE_ADDR": "192.0.2.10"}).status_code == 200


def _signed_in(app: APIFlask, new_person: NewPerson, name: str) -> FlaskClient:
    new_person(name)
    client = app.test_client()
    assert client.post("/api/v1/sign-in", json={"name": name, "password": f"{name}-secret"}).status_code == 200
    return client


def test_no_operation_takes_an_address_that_would_be_asked(alice: FlaskClient) -> None:
    """No field of what is sent, and no parameter, is an address, by its name or its format."""
    spec = alice.get("/api/v1/openapi.json").json
    sent, fields = [each for path in spec["paths"].values() for each in path.values() if isinstance(each, dict)], []
    while sent:
        part = sent.pop()
        if isinstance(part, list):
            sent += part
        elif isinstance(part, dict):
            fields += [(name, str(schema)) for name, schema in part.get("properties", {}).items()]
            fields += [(part["name"], str(part))] if "in" in part else []
            sent += [value for key, value in part.items() if key != "responses"]
            sent += [_named(spec, part["$ref"])] if "$ref" in part else []
    assert len(fields) > 50
    assert not [name for name, kind in fields if re.search("ur[il]|host|callback|href", name) or "'uri'" in kind]


def _named(spec: dict[str, Any], name: str) -> Any:
    for step in name.removeprefix("#/").split("/"):
        spec = spec[step]
    return spec
