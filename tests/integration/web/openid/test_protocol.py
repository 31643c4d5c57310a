"""Signing in with a provider: what is asked for, and every answer that must not sign anybody in."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from broker.identity import openid, providers
from broker.runtime import Runtime
from tests.conftest import FakeLauncher
from tests.integration.web.openid.conftest import NewDeployment, come_back, me, nobody_is_in, sign_in, to_provider
from tests.peers.oidc.minimal import Minimal, new_key
from web.app import create_app


def test_who_signs_in_gets_an_account_and_where_they_wanted_to_go(browser: FlaskClient, idp: Minimal) -> None:
    """Code and PKCE; the ID token and userinfo as one; the second time it is the same account."""
    idp.change_userinfo = lambda told: {**told, "groups": ["few"], "name": "Alice of Userinfo"}
    answer = sign_in(browser, idp, next="/history")
    assert (answer.status_code, answer.location) == (303, "/history")
    expected = {"name": "alice", "full_name": "Alice of Userinfo", "role": "user", "groups": ["few"]}
    first = me(browser)
    assert first.items() >= expected.items()
    browser.delete_cookie("beamdesk")
    assert me(browser) is None
    sign_in(browser, idp)
    assert me(browser) == first
    assert browser.get("/sign-in/facility?next=/history").location == "/history", "who is in need not sign in"


def test_the_request_says_what_it_must_and_no_more(browser: FlaskClient) -> None:
    """PKCE with S256, a state and a nonce that nobody could guess, and an address of that provider's own."""
    asked = {name: one[0] for name, one in parse_qs(urlsplit(to_provider(browser)).query).items()}
    assert asked["redirect_uri"] == "http://localhost/sign-in/facility/callback"
    assert (asked["response_type"], asked["client_id"], asked["scope"]) == ("code", "beamdesk", "openid profile email")
    assert asked["code_challenge_method"] == "S256"
    assert min(len(asked["state"]), len(asked["nonce"]), len(asked["code_challenge"])) >= 32
    assert "client_secret" not in asked
    again = parse_qs(urlsplit(to_provider(browser)).query)
    assert not {asked["state"], asked["nonce"], asked["code_challenge"]} & {one[0] for one in again.values()}


def test_what_the_browser_keeps_is_sealed_and_lives_for_minutes(browser: FlaskClient) -> None:
    """No script reads it, and nobody reads the verifier in it."""
    cookie = browser.get("/sign-in/facility").headers["Set-Cookie"]
    assert cookie.startswith("beamdesk-begun=")
    assert all(words in cookie for words in ("HttpOnly", "SameSite=Lax", "Max-Age=600", "Path=/"))
    assert b"state" not in base64.urlsafe_b64decode(cookie.split("=", 1)[1].split(";")[0] + "==")


def test_under_https_no_neighbour_can_plant_that_cookie(
    deployment: NewDeployment, idp: Minimal, launcher: FakeLauncher
) -> None:
    """A page of another host in the same domain could otherwise sign people in as somebody else."""
    runtime = deployment(facility={"issuer": idp.issuer}, web={"public_url": "https://localhost"})
    app = create_app(runtime, launcher)
    cookie = app.test_client().get("/sign-in/facility", base_url="https://localhost").headers["Set-Cookie"]
    assert cookie.startswith("__Host-beamdesk-begun=")
    assert "Secure" in cookie


def test_an_answer_counts_only_in_the_browser_that_asked(portal: APIFlask, idp: Minimal, here: Runtime) -> None:
    """Login CSRF: a link that would sign the victim in as the attacker."""
    attacker, victim = portal.test_client(), portal.test_client()
    link = idp.answer_to(to_provider(attacker))
    answer = come_back(victim, link)
    assert answer.status_code == 400
    assert "This browser has begun no sign-in" in answer.text
    to_provider(victim)  # even while the victim signs in by themselves
    answer = come_back(victim, link)
    assert answer.status_code == 400
    assert "belongs to another sign-in" in answer.text
    assert me(victim) is None
    assert nobody_is_in(here)


@pytest.mark.parametrize("state", ["", "x", "ä" * 40])
def test_another_state_is_refused(browser: FlaskClient, idp: Minimal, here: Runtime, state: str) -> None:
    """Whatever it is; and the sign-in must be begun anew then."""
    good = idp.answer_to(to_provider(browser))
    assert come_back(browser, {**good, "state": state}).status_code == 400
    assert come_back(browser, good).status_code == 400, "each sign-in has one answer"
    assert nobody_is_in(here)


def test_a_sign_in_that_takes_too_long_must_begin_anew(
    browser: FlaskClient, idp: Minimal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the browser keeps is good for minutes."""
    good = idp.answer_to(to_provider(browser))
    monkeypatch.setattr(openid, "MINUTES", -1)
    answer = come_back(browser, good)
    assert (answer.status_code, "took too long" in answer.text) == (400, True)


def test_a_code_is_used_once(browser: FlaskClient, idp: Minimal) -> None:
    """Who copied the address and the cookie comes too late."""
    good = idp.answer_to(to_provider(browser))
    kept = browser.get_cookie("beamdesk-begun")
    assert kept is not None
    assert come_back(browser, good).status_code == 303
    assert browser.get_cookie("beamdesk-begun") is None
    browser.delete_cookie("beamdesk")
    browser.set_cookie("beamdesk-begun", kept.value)
    answer = come_back(browser, good)
    assert answer.status_code == 403
    assert "was used already" in answer.text
    assert "<b>code</b>" not in answer.text, "the provider's words are text"
    assert me(browser) is None


def test_the_code_of_another_sign_in_is_no_use(portal: APIFlask, idp: Minimal, here: Runtime) -> None:
    """PKCE: a stolen code needs the verifier of the browser that it was made for."""
    victim, thief = portal.test_client(), portal.test_client()
    stolen = idp.answer_to(to_provider(victim))
    own = idp.answer_to(to_provider(thief))
    assert come_back(thief, {**own, "code": stolen["code"]}).status_code == 403
    assert nobody_is_in(here)


def test_two_providers_are_never_mixed_up(
    deployment: NewDeployment, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """An answer of the one is none of the other: by address, by cookie, by issuer (RFC 9207), by audience."""
    runtime = deployment(facility={"issuer": idp.issuer}, other={"issuer": second.issuer})
    browser = create_app(runtime, launcher).test_client()
    answer = idp.answer_to(to_provider(browser, "facility"))
    assert come_back(browser, answer, "other").status_code == 400
    answer = second.answer_to(to_provider(browser, "facility"))
    refused = come_back(browser, answer, "facility")
    assert refused.status_code == 502
    assert "another provider" in refused.text
    unsaid = idp.answer_to(to_provider(browser, "facility"))
    del unsaid["iss"]
    assert come_back(browser, unsaid, "facility").status_code == 502, "who always says it never leaves it out"
    assert "/token" not in second.seen
    assert "/token" not in idp.seen, "no code was sent to the wrong one"
    assert nobody_is_in(runtime)


BAD_TOKENS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another nonce": lambda told: {**told, "nonce": "of-another-sign-in"},
    "no nonce": lambda told: {name: value for name, value in told.items() if name != "nonce"},
    "another issuer": lambda told: {**told, "iss": "https://evil.example"},
    "another audience": lambda told: {**told, "aud": "somebody-else"},
    "for another party": lambda told: {**told, "aud": ["beamdesk", "other"], "azp": "other"},
    "expired": lambda told: {**told, "iat": time.time() - 600, "exp": time.time() - 300},
    "from the future": lambda told: {**told, "iat": time.time() + 300, "exp": time.time() + 600},
    "no expiry": lambda told: {name: value for name, value in told.items() if name != "exp"},
    "no subject": lambda told: {name: value for name, value in told.items() if name != "sub"},
    "an empty subject": lambda told: {**told, "sub": ""},
    "a subject that is no text": lambda told: {**told, "sub": 7},
    "another access token's": lambda told: {**told, "at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_an_id_token_that_is_not_good_signs_nobody_in(
    browser: FlaskClient, idp: Minimal, here: Runtime, name: str
) -> None:
    """Though it is signed well."""
    idp.change_id_token = BAD_TOKENS[name]
    answer = sign_in(browser, idp)
    assert answer.status_code == 502, answer.text
    assert "cannot be used to sign in" in answer.text
    assert me(browser) is None
    assert nobody_is_in(here)


def _unsigned(idp: Minimal) -> Callable[..., str]:
    def signed(claims: dict[str, Any], key: Any = None, **header: Any) -> str:
        parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."

    return signed


def _by_the_public_key(idp: Minimal) -> Callable[..., str]:
    """HS256 with the public key as the secret: the oldest trick with such tokens."""

    def signed(claims: dict[str, Any], key: Any = None, **header: Any) -> str:
        parts = (json.dumps(part).encode() for part in ({"alg": "HS256", "kid": idp.key.kid}, claims))
        text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        proof = hmac.digest(idp.key.as_pem(private=False), text, "sha256")
        return f"{text.decode()}.{base64.urlsafe_b64encode(proof).rstrip(b'=').decode()}"

    return signed


def _by_another_key(idp: Minimal) -> Callable[..., str]:
    plain, key = idp.signed, new_key()
    return lambda claims, _=None, **header: plain(claims, key, **header)


def _by_another_key_under_its_name(idp: Minimal) -> Callable[..., str]:
    plain, key = idp.signed, new_key()
    return lambda claims, _=None, **header: plain(claims, key, kid=idp.key.kid, **header)


def _cut(idp: Minimal) -> Callable[..., str]:
    plain = idp.signed
    return lambda claims, key=None, **header: plain(claims, key, **header)[:-40]


def _garbage(idp: Minimal) -> Callable[..., str]:
    return lambda *_, **__: "no.token.atall"


@pytest.mark.parametrize(
    "forge", [_unsigned, _by_the_public_key, _by_another_key, _by_another_key_under_its_name, _cut, _garbage]
)
def test_a_forged_id_token_signs_nobody_in(
    browser: FlaskClient, idp: Minimal, here: Runtime, forge: Callable[[Minimal], Callable[..., str]]
) -> None:
    """Whatever its header says of itself."""
    idp.signed = forge(idp)  # type: ignore[method-assign]
    answer = sign_in(browser, idp)
    assert answer.status_code == 502, answer.text
    assert nobody_is_in(here)


def test_userinfo_of_another_person_is_refused(browser: FlaskClient, idp: Minimal, here: Runtime) -> None:
    """It must be about who signed in (OpenID Connect Core 5.3.2)."""
    idp.change_userinfo = lambda told: {**told, "sub": "bob"}
    assert sign_in(browser, idp).status_code == 502
    assert nobody_is_in(here)


@pytest.mark.parametrize("seconds", [-50, 50])
def test_a_clock_that_is_a_little_off_is_forgiven(browser: FlaskClient, idp: Minimal, seconds: int) -> None:
    """A minute, unless the settings say otherwise."""
    moved = {"iat": time.time() + seconds, "exp": time.time() + seconds + 20}
    idp.change_id_token = lambda told: {**told, **moved}
    assert sign_in(browser, idp).status_code == 303


def test_keys_that_were_changed_are_fetched_again(browser: FlaskClient, idp: Minimal) -> None:
    """Without a restart, and without waiting."""
    assert sign_in(browser, idp).status_code == 303
    idp.key = new_key()
    idp.published = [idp.key]
    provider = providers._known["facility"]
    provider._keys_at -= providers.KEYS_AGAIN
    browser.delete_cookie("beamdesk")
    assert sign_in(browser, idp).status_code == 303
    assert idp.seen.count("/jwks") == 2


def test_tokens_of_unknown_keys_do_not_make_us_ask_for_ever(browser: FlaskClient, idp: Minimal) -> None:
    """Anybody may send a logout token of any key; the provider's keys are fetched again once in some seconds."""
    assert sign_in(browser, idp).status_code == 303
    stranger = new_key()
    for _ in range(20):
        token = idp.logout_token(stranger)
        assert (
            browser.application.test_client().post("/sign-in/facility/logout", data={"logout_token": token}).status_code
            == 400
        )
    assert idp.seen.count("/jwks") == 1
    providers._known["facility"]._keys_at -= providers.KEYS_AGAIN
    for _ in range(20):
        browser.application.test_client().post(
            "/sign-in/facility/logout", data={"logout_token": idp.logout_token(stranger)}
        )
    assert idp.seen.count("/jwks") == 2


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ("access_denied", 403, "was cancelled there"),
        ("login_required", 403, "sign in there first"),
        ("<script>alert(1)</script>", 403, "it answers"),
        ("temporarily_unavailable", 502, "temporarily_unavailable"),
        ("invalid_scope", 502, "client_id"),
    ],
)
def test_the_providers_no_is_a_friendly_page(
    browser: FlaskClient, idp: Minimal, error: str, status: int, words: str
) -> None:
    """With its words as text, and the buttons to try again."""
    good = idp.answer_to(to_provider(browser, next="/history"))
    told = {
        "error": error,
        "error_description": "<i>because</i>\n" + "x" * 500,
        "state": good["state"],
        "iss": idp.issuer,
    }
    answer = come_back(browser, told)
    assert answer.status_code == status
    assert words in answer.text
    assert "<script>alert" not in answer.text
    assert "<i>because" not in answer.text
    assert 'href="/sign-in/facility?next=/history"' in answer.text


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_the_way_after_signing_in_stays_here(browser: FlaskClient, idp: Minimal, wanted: str) -> None:
    """No open redirect."""
    assert sign_in(browser, idp, next=wanted).location == "/"


def test_an_address_that_is_too_long_for_a_cookie_is_forgotten(browser: FlaskClient, idp: Minimal) -> None:
    """The sign-in works all the same."""
    assert sign_in(browser, idp, next="/history?" + "x" * 5000).location == "/"


def test_the_way_begins_where_it_will_end(browser: FlaskClient, idp: Minimal) -> None:
    """Who opened the portal by another name of the host comes back by the public one, and so must begin there; once."""
    answer = browser.get("/sign-in/facility?next=/history", base_url="http://127.0.0.1")
    assert answer.location == "http://localhost/sign-in/facility?next=/history&here=1"
    behind = browser.get("/sign-in/facility?here=1", base_url="http://10.0.0.1:8080")
    assert behind.location.startswith(idp.issuer), "a proxy that changes the host makes no loop"


@pytest.mark.parametrize(
    "path", ["/sign-in/nobody", "/sign-in/nobody/callback", "/sign-in/..%2f..", "/sign-in/facility/x"]
)
def test_other_names_lead_nowhere(browser: FlaskClient, path: str) -> None:
    """A provider is one of the settings."""
    answer = browser.get(path)
    assert answer.status_code in (400, 404)


def test_only_who_is_in_the_right_group_may_enter(
    deployment: NewDeployment, idp: Minimal, launcher: FakeLauncher
) -> None:
    """Check-in knows half of the world."""
    runtime = deployment(facility={"issuer": idp.issuer, "only_groups": ["few"]})
    browser = create_app(runtime, launcher).test_client()
    answer = sign_in(browser, idp)
    assert (answer.status_code, "in none of the groups" in answer.text) == (403, True)
    assert nobody_is_in(runtime)
    idp.person = {**idp.person, "groups": ["few"]}
    assert sign_in(browser, idp).status_code == 303


def test_without_its_secret_the_provider_is_not_asked(
    browser: FlaskClient, idp: Minimal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the page says which setting it is, and not the secret."""
    monkeypatch.delenv("OF_THE_TESTS")
    answer = browser.get("/sign-in/facility")
    assert (answer.status_code, "client_secret_env" in answer.text) == (502, True)
    monkeypatch.setenv("OF_THE_TESTS", "a-wrong-one")
    answer = sign_in(browser, idp)
    assert (answer.status_code, "a-wrong-one" in answer.text) == (502, False)
