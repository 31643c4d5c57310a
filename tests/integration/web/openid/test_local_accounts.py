"""Local accounts beside providers, and turned off."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from broker.identity import service as identity
from broker.identity.rights import Role
from broker.runtime import Runtime
from broker.settings import VmmSettings
from tests.conftest import FakeLauncher, NewPerson
from tests.integration.web.openid.conftest import NewDeployment, me, sign_in
from tests.peers.oidc.minimal import Minimal
from web.app import create_app

ALICE = {"name": "alice", "password": "alice-secret"}


@pytest.fixture
def off(deployment: NewDeployment, idp: Minimal) -> Runtime:
    """Nobody signs in with a password."""
    return deployment(facility={"issuer": idp.issuer}, local_accounts=False)


def test_both_stand_on_the_page(browser: FlaskClient) -> None:
    """A button for each provider, and the form."""
    page = browser.get("/sign-in?next=/history").text
    assert 'href="/sign-in/facility?next=/history"' in page
    assert "The facility" in page
    assert 'name="password"' in page


def test_turned_off_neither_form_nor_api_takes_a_password(
    off: Runtime, launcher: FakeLauncher, new_person: NewPerson, idp: Minimal
) -> None:
    """Also the right one, and an administrator's; nothing says whether it was right."""
    new_person("alice", admin=True)
    browser = create_app(off, launcher).test_client()
    page = browser.get("/sign-in").text
    assert 'name="password"' not in page
    assert "The facility" in page
    for password in ("alice-secret", "wrong"):
        answer = browser.post("/api/v1/sign-in", json={**ALICE, "password": password})
        assert (answer.status_code, answer.json["code"]) == (403, "local-accounts-off")
        form = browser.post("/sign-in", data={**ALICE, "password": password})
        assert (form.status_code, "Nobody signs in with a password" in form.text) == (403, True)
    assert me(browser) is None
    sign_in(browser, idp)
    assert me(browser)["name"] == "alice-2"


def test_turned_off_programs_keep_their_accounts(off: Runtime, launcher: FakeLauncher) -> None:
    """A front end goes on launching for its own users."""
    identity.create_account(off, "topcat", "TopCAT", "topcat-secret", role=Role.SERVICE)
    off.settings = off.settings.model_copy(update={"vmm": VmmSettings(enabled=True)})
    browser = create_app(off, launcher).test_client()
    told = {"VMM-User": "topcat", "VMM-Password": "topcat-secret"}
    assert browser.get("/vmm/machinetypes", headers=told).status_code == 200
    assert browser.get("/vmm/machinetypes", headers={**told, "VMM-Password": "x"}).status_code == 401


def test_an_account_of_a_provider_has_no_password(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """Not the empty one either."""
    sign_in(browser, idp)
    browser.delete_cookie("beamdesk")
    for password in ("", " ", "alice"):
        assert browser.post("/sign-in", data={"name": "alice", "password": password}).status_code == 401
    assert me(browser) is None
