"""Which account somebody gets: their own, a new one, never another's."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from broker.database import now
from broker.errors import LastWayIn
from broker.events import Event
from broker.identity import arrivals, unlinking
from broker.identity.models import Identity, User
from broker.identity.openid import Told
from broker.identity.rights import Role
from broker.identity.service import begin_sign_in, create_account
from broker.runtime import Runtime
from tests.conftest import FakeLauncher, NewPerson
from tests.integration.web.openid.conftest import NewDeployment, come_back, me, sign_in
from tests.integration.web.served import serve
from tests.peers.oidc.minimal import Minimal
from web.app import create_app

HEADER = {"X-Requested-With": "test"}
BY_EMAIL = {"linked_by": "email"}
VERIFIED = {"email": "alice@example.org", "email_verified": True}


@pytest.fixture
def two(deployment: NewDeployment, idp: Minimal, second: Minimal) -> Runtime:
    """Two providers, neither trusted with an identifier."""
    return deployment(facility={"issuer": idp.issuer}, other={"issuer": second.issuer})


def window(runtime: Runtime, launcher: FakeLauncher) -> FlaskClient:
    """A fresh browser."""
    return create_app(runtime, launcher).test_client()


def names(runtime: Runtime) -> list[str]:
    with runtime.database.reading() as db:
        return list(db.scalars(select(User.name).order_by(User.id)))


def test_a_local_account_of_the_same_name_is_never_taken_over(
    here: Runtime, browser: FlaskClient, idp: Minimal, new_person: NewPerson
) -> None:
    """Not even an administrator's; the newcomer gets the next name."""
    new_person("alice", admin=True)
    sign_in(browser, idp)
    assert me(browser)["name"] == "alice-2"
    assert me(browser)["role"] == "user"
    assert names(here) == ["alice", "alice-2"]


def test_the_same_subject_at_two_providers_is_two_people(
    two: Runtime, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """An identity is issuer and subject; a subject alone says nothing."""
    one, other = window(two, launcher), window(two, launcher)
    sign_in(one, idp)
    sign_in(other, second, "other")
    assert (me(one)["name"], me(other)["name"]) == ("alice", "alice-2")


def test_an_unverified_or_untrusted_email_links_nobody(
    deployment: NewDeployment, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """Both providers must be trusted with it, and it must be verified at both."""
    idp.person |= VERIFIED
    trusted = deployment(facility={"issuer": idp.issuer, **BY_EMAIL}, other={"issuer": second.issuer, **BY_EMAIL})
    one_sided = deployment(facility={"issuer": idp.issuer, **BY_EMAIL}, other={"issuer": second.issuer})
    sign_in(window(trusted, launcher), idp)
    for subject, runtime, told in (
        ("m1", trusted, {"email": "alice@example.org"}),
        ("m2", trusted, {"email": "alice@example.org", "email_verified": False}),
        ("m3", trusted, {"email": "alice@example.org", "email_verified": "true"}),
        ("m4", one_sided, VERIFIED),
    ):
        second.person = {"sub": subject, "preferred_username": "mallory", **told}
        browser = window(runtime, launcher)
        sign_in(browser, second, "other")
        assert me(browser)["name"].startswith("mallory"), subject


@pytest.mark.parametrize(
    ("claim", "here_told", "there_told"),
    [
        ("email", VERIFIED, {**VERIFIED, "email": "Alice@Example.org"}),
        ("voperson_id", {"voperson_id": "abc@egi.eu"}, {"voperson_id": "abc@egi.eu"}),
    ],
)
def test_a_verified_identifier_leads_to_the_same_account(
    deployment: NewDeployment,
    idp: Minimal,
    second: Minimal,
    launcher: FakeLauncher,
    claim: str,
    here_told: dict[str, Any],
    there_told: dict[str, Any],
) -> None:
    """Where both providers are trusted with it."""
    by = {"linked_by": claim}
    runtime = deployment(facility={"issuer": idp.issuer, **by}, other={"issuer": second.issuer, **by})
    idp.person |= {**here_told, "groups": ["few"]}
    second.person = {"sub": "xyz", "preferred_username": "a.muon", **there_told, "groups": ["many"]}
    sign_in(window(runtime, launcher), idp)
    browser = window(runtime, launcher)
    sign_in(browser, second, "other")
    assert me(browser)["name"] == "alice"
    assert me(browser)["groups"] == ["few", "many"], "what both say counts"
    assert len(browser.get("/api/v1/me/identities").json) == 2


def test_an_identifier_of_two_people_links_to_neither(
    deployment: NewDeployment, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """A shared mailbox is nobody."""
    trusted = {"issuer": idp.issuer, **BY_EMAIL}
    alone = deployment(facility={"issuer": idp.issuer})
    for subject in ("one", "two"):
        idp.person = {"sub": subject, "preferred_username": subject, **VERIFIED}
        sign_in(window(alone, launcher), idp)
    both = deployment(facility=trusted, other={"issuer": second.issuer, **BY_EMAIL})
    with both.database.transaction() as db:
        for identity in db.scalars(select(Identity)):
            identity.identifier = "email:alice@example.org"
    second.person = {"sub": "three", "preferred_username": "three", **VERIFIED}
    browser = window(both, launcher)
    sign_in(browser, second, "other")
    assert me(browser)["name"] == "three"


def test_a_service_account_is_nobodys_by_identifier(
    deployment: NewDeployment, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """Somebody's account that was made a program's lets nobody in."""
    runtime = deployment(facility={"issuer": idp.issuer, **BY_EMAIL}, other={"issuer": second.issuer, **BY_EMAIL})
    idp.person |= VERIFIED
    sign_in(window(runtime, launcher), idp)
    create_account(runtime, "alice", "Program", "secret", role=Role.SERVICE)
    second.person = {"sub": "xyz", "preferred_username": "alice", **VERIFIED}
    browser = window(runtime, launcher)
    sign_in(browser, second, "other")
    assert me(browser)["name"] == "alice-2"


def add(browser: FlaskClient, idp: Minimal, name: str) -> Any:
    """Add this provider's identity, as the account page does."""
    began = browser.post(f"/api/v1/me/identities/{name}", headers=HEADER)
    assert began.status_code == 200, began.text
    return come_back(browser, idp.answer_to(began.json["continue_at"]), name)


def test_a_signed_in_person_adds_another_identity(
    two: Runtime, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """By signing in there, too; from then on either leads to the same account. Twice is once."""
    second.person = {"sub": "xyz", "preferred_username": "a.muon", "groups": ["many"]}
    browser = window(two, launcher)
    sign_in(browser, idp)
    for _ in range(2):
        answer = add(browser, second, "other")
        assert (answer.status_code, answer.location) == (303, "/account")
    later = window(two, launcher)
    sign_in(later, second, "other")
    assert me(later)["name"] == "alice"
    assert names(two) == ["alice"]
    page = later.get("/account").text
    assert "The facility" in page
    assert "The other" in page


def test_a_local_account_adds_an_identity_too(
    here: Runtime, browser: FlaskClient, idp: Minimal, new_person: NewPerson
) -> None:
    """So that those who were there before keep their homes."""
    new_person("alice", groups=("few",))
    browser.post("/sign-in", data={"name": "alice", "password": "alice-secret"})
    idp.person["groups"] = ["many"]
    assert add(browser, idp, "facility").status_code == 303
    assert me(browser)["groups"] == ["few", "many"]
    browser.delete_cookie("beamdesk")
    sign_in(browser, idp)
    assert me(browser)["name"] == "alice"


def test_an_identity_of_somebody_else_is_not_taken(
    two: Runtime, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """It stays where it is, and the page says so."""
    second.person = {"sub": "bob", "preferred_username": "bob"}
    sign_in(window(two, launcher), second, "other")
    browser = window(two, launcher)
    sign_in(browser, idp)
    answer = add(browser, second, "other")
    assert (answer.status_code, "belongs to another account" in answer.text) == (409, True)
    later = window(two, launcher)
    sign_in(later, second, "other")
    assert me(later)["name"] == "bob"


def test_adding_ends_with_the_sign_in_that_began_it(
    two: Runtime, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """Who signed out, or signed in as somebody else meanwhile, adds nothing to anybody."""
    browser = window(two, launcher)
    sign_in(browser, idp)
    address = browser.post("/api/v1/me/identities/other", headers=HEADER).json["continue_at"]
    browser.delete_cookie("beamdesk")
    assert come_back(browser, second.answer_to(address), "other").status_code == 400
    with two.database.reading() as db:
        assert db.scalars(select(Identity.issuer)).all() == [idp.issuer]


def test_no_other_sites_page_can_begin_adding(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """It changes something: a link or form elsewhere must not do it."""
    sign_in(browser, idp)
    assert browser.get("/api/v1/me/identities/facility").status_code == 405
    assert browser.post("/api/v1/me/identities/facility").status_code == 403
    evil = {**HEADER, "Origin": "https://evil.example"}
    assert browser.post("/api/v1/me/identities/facility", headers=evil).status_code == 403


def test_first_sign_ins_at_once_make_one_account_each(
    deployment: NewDeployment, each_runtime: Runtime, idp: Minimal
) -> None:
    """Eight people of one name, each in two browsers, on each database."""
    settings = deployment(facility={"issuer": idp.issuer}).settings
    runtime = Runtime(settings.model_copy(update={"database": each_runtime.settings.database}), each_runtime.database)

    def arrive(number: int) -> str:
        claims = {"sub": f"s{number % 8}", "preferred_username": "alice"}
        told = Told("facility", idp.issuer, claims["sub"], claims, None, "", None)
        return arrivals.arrive(runtime, told)[1].name

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(arrive, range(16)))
    assert found[:8] == found[8:]
    assert set(found) == {"alice", *(f"alice-{number}" for number in range(2, 9))}


def test_administrators_come_and_go_with_their_group(
    deployment: NewDeployment, idp: Minimal, launcher: FakeLauncher, new_person: NewPerson
) -> None:
    """But who is one by the local command stays one."""
    runtime = deployment(facility={"issuer": idp.issuer, "admin_groups": ["operators"]})
    idp.person["groups"] = ["operators"]
    browser = window(runtime, launcher)
    sign_in(browser, idp)
    assert me(browser)["role"] == "admin"
    idp.person["groups"] = []
    sign_in(window(runtime, launcher), idp)
    assert me(browser)["role"] == "user"
    assert me(browser)["groups"] == []
    ada = new_person("ada", admin=True)
    told = Told("facility", idp.issuer, "ada", {"sub": "ada"}, None, "", None)
    arrivals.link(runtime, ada, told)
    assert arrivals.arrive(runtime, told)[1].is_admin


def test_an_identity_is_removed_with_what_it_gave_and_what_was_signed_in_with_it(
    two: Runtime, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """The other one stays signed in, and what the audit log says; later it is somebody new. Never the last way in."""
    idp.person["groups"], second.person = ["few"], {"sub": "xyz", "preferred_username": "a.muon", "groups": ["many"]}
    browser, other = window(two, launcher), window(two, launcher)
    sign_in(browser, idp)
    add(browser, second, "other")
    sign_in(other, second, "other")
    assert me(other)["groups"] == ["few", "many"]
    removed = browser.delete("/api/v1/me/identities/other", headers=HEADER)
    assert removed.status_code == 204, removed.text
    assert (me(browser)["groups"], me(other)) == (["few"], None)
    assert [one["provider"] for one in browser.get("/api/v1/me/identities").json] == ["facility"]
    last = browser.delete("/api/v1/me/identities/facility", headers=HEADER)
    assert (last.status_code, last.json["code"]) == (409, "last-way-in")
    assert browser.delete("/api/v1/me/identities/other", headers=HEADER).status_code == 404
    with two.database.reading() as db:
        (row,) = db.scalars(select(Event).where(Event.action == "account:unlink"))
    assert (row.actor, row.detail["provider"], row.detail["known_as"]) == ("alice", "other", "xyz")
    sign_in(other, second, "other")
    assert me(other)["name"] == "a-muon"


@pytest.mark.parametrize(("local_accounts", "status"), [(True, 204), (False, 409)])
def test_a_password_is_a_way_in_while_local_accounts_are_on(
    deployment: NewDeployment,
    idp: Minimal,
    launcher: FakeLauncher,
    new_person: NewPerson,
    local_accounts: bool,
    status: int,
) -> None:
    """An identity at a provider that has left the settings is none."""
    alice = new_person("alice")
    for provider in ("facility", "gone"):
        told = Told(provider, f"{idp.issuer}{provider}", "alice", {"sub": "alice"}, None, "", None)
        arrivals.link(deployment(**{provider: {"issuer": idp.issuer}}), alice, told)
    runtime = deployment(local_accounts=local_accounts, facility={"issuer": idp.issuer})
    browser = window(runtime, launcher)
    browser.set_cookie("beamdesk", begin_sign_in(runtime, _row(runtime, "alice"))[0])
    assert browser.delete("/api/v1/me/identities/facility", headers=HEADER).status_code == status
    assert browser.delete("/api/v1/me/identities/gone", headers=HEADER).status_code == 204


def _row(runtime: Runtime, name: str) -> User:
    with runtime.database.reading() as db:
        return db.scalars(select(User).where(User.name == name)).one()


def test_of_two_identities_that_are_removed_at_once_one_stays(
    deployment: NewDeployment, each_runtime: Runtime, idp: Minimal
) -> None:
    """On either database nobody is locked out."""
    settings = deployment(**{name: {"issuer": f"{idp.issuer}{name}"} for name in "ab"}).settings
    runtime = Runtime(settings.model_copy(update={"database": each_runtime.settings.database}), each_runtime.database)
    told = [Told(name, f"{idp.issuer}{name}", "alice", {"sub": "alice"}, None, "", None) for name in "ab"]
    alice = arrivals.arrive(runtime, told[0])[1]
    arrivals.link(runtime, alice, told[1])

    def remove(name: str) -> bool:
        try:
            return bool(unlinking.unlink(runtime, alice, name) or True)
        except LastWayIn:
            return False

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(remove, "ab")) == [False, True]


def test_an_identity_is_removed_on_the_page_by_keyboard(
    deployment: NewDeployment, idp: Minimal, launcher: FakeLauncher, windowless_chromium: Browser, new_person: NewPerson
) -> None:
    """Not by Enter alone: the question stands on No."""
    alice = new_person("alice")
    with serve(create_app(deployment(facility={"issuer": idp.issuer}), launcher)) as address:
        runtime = deployment(facility={"issuer": idp.issuer}, web={"public_url": f"http://{address}"})
        arrivals.link(runtime, alice, Told("facility", idp.issuer, "alice", {"sub": "alice"}, None, "", None))
        context = windowless_chromium.new_context(viewport={"width": 390, "height": 844})
        token = begin_sign_in(runtime, _row(runtime, "alice"))[0]
        context.add_cookies([{"name": "beamdesk", "value": token, "url": f"http://{address}"}])
        page = context.new_page()
        page.goto(f"http://{address}/account")
        remove = page.get_by_role("button", name=re.compile("Remove.*The facility"))
        remove.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        expect(remove).to_be_focused()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Remove it").focus()
        page.keyboard.press("Enter")
        expect(remove).to_have_count(0)
        expect(page.get_by_role("button", name="Add The facility")).to_be_visible()
        context.close()


def test_what_was_linked_says_when(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """The API lists it, and nobody else's."""
    sign_in(browser, idp)
    [one] = browser.get("/api/v1/me/identities").json
    assert (one["provider"], one["issuer"], one["subject"]) == ("facility", idp.issuer, "alice")
    assert one["linked_at"][:10] == now().isoformat()[:10]
