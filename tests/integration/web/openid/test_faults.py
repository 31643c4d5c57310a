"""A provider in trouble: each fault at each of its addresses ends in words, in time, and costs others nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from broker.identity import fetching, providers
from broker.runtime import Runtime
from tests.conftest import FakeLauncher
from tests.integration.web.openid.conftest import NewDeployment, come_back, nobody_is_in, sign_in
from tests.peers.oidc.minimal import Minimal
from tests.ports import free_port
from web.app import create_app


def _html(handler: Any) -> None:
    handler.say_bytes(b"<html><h1>Welcome to our Wi-Fi</h1></html>")


def _trouble(handler: Any) -> None:
    handler.say_bytes(b"<html>502 Bad Gateway</html>", 502)


def _hangs_up(handler: Any) -> None:
    handler.connection.close()


def _drips(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def _is_silent(handler: Any) -> None:
    time.sleep(3)


def _floods(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b" " * 10_000)


def _redirects(handler: Any) -> None:
    handler.say_bytes(b"", 302, Location="http://127.0.0.1:1/secret")


def _is_a_list(handler: Any) -> None:
    handler.say_bytes(b"[1, 2]", kind="application/json")


FAULTS = [_html, _trouble, _hangs_up, _drips, _is_silent, _floods, _redirects, _is_a_list]
PATHS = ["/.well-known/openid-configuration", "/jwks", "/token", "/me"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_provider_in_trouble_is_said_so_in_time(
    browser: FlaskClient, idp: Minimal, here: Runtime, path: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the sign-in page, with what to do; nobody is signed in, and no thread hangs."""
    monkeypatch.setattr(fetching, "SILENCE", 0.5)
    monkeypatch.setattr(fetching, "IN_ALL", 0.7)
    idp.faults[path] = fault
    began = time.monotonic()
    answer = browser.get("/sign-in/facility")
    if answer.status_code == 303:
        answer = come_back(browser, idp.answer_to(answer.location))
    assert time.monotonic() - began < 3
    assert answer.status_code in (502, 503), answer.text
    assert "The facility can" in answer.text
    assert "Try again in a moment" in answer.text
    assert nobody_is_in(here)
    idp.faults.clear()
    providers._known["facility"]._failed_at = float("-inf")
    assert sign_in(browser, idp).status_code == 303, "and afterwards all is well"


def test_a_provider_that_is_down_costs_others_nothing(
    deployment: NewDeployment, idp: Minimal, launcher: FakeLauncher
) -> None:
    """The sign-in page stands, the other provider works, and local accounts do."""
    down = f"http://127.0.0.1:{free_port()}"
    browser = create_app(deployment(facility={"issuer": idp.issuer}, down={"issuer": down}), launcher).test_client()
    answer = browser.get("/sign-in/down")
    assert (answer.status_code, "The down cannot be reached" in answer.text) == (503, True)
    assert 'href="/sign-in/facility"' in answer.text
    assert sign_in(browser, idp).status_code == 303


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "https://evil.example"}, "it calls itself"),
        ({"token_endpoint": None}, "no good token_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "not https"),
        ({"userinfo_endpoint": "gopher://127.0.0.1/"}, "not https"),
    ],
)
def test_a_provider_that_says_of_itself_what_cannot_be_is_not_used(
    browser: FlaskClient, idp: Minimal, change: dict[str, Any], words: str
) -> None:
    """Above all that it is another."""
    idp.change_metadata = lambda told: {**told, **change}
    answer = browser.get("/sign-in/facility")
    assert (answer.status_code, words in answer.text) == (502, True), answer.text
