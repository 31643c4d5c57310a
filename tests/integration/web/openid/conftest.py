"""A deployment whose people sign in with OpenID providers, and browsers without windows that do so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from broker.identity import providers
from broker.identity.models import Identity, SignIn, User
from broker.runtime import Runtime
from broker.settings import IdentitySettings, WebSettings
from tests.conftest import FakeLauncher
from tests.peers.oidc.minimal import CLIENT, SECRET, Minimal, minimal
from web.app import create_app

HOME = "http://localhost"  # where Flask's test client believes to be


@pytest.fixture
def idp() -> Iterator[Minimal]:
    """A provider that does as it is told."""
    with minimal() as found:
        yield found


@pytest.fixture
def second() -> Iterator[Minimal]:
    """Another one."""
    with minimal() as found:
        yield found


NewDeployment = Callable[..., Runtime]


@pytest.fixture
def deployment(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> NewDeployment:
    """Makes the deployment with these providers: `deployment(facility={"issuer": …}, local_accounts=False)`."""
    monkeypatch.setenv("OF_THE_TESTS", SECRET)
    monkeypatch.setattr(providers, "_known", {})

    def make(*, local_accounts: bool = True, web: dict[str, Any] | None = None, **told: dict[str, Any]) -> Runtime:
        usual = {"client_id": CLIENT, "client_secret_env": "OF_THE_TESTS"}
        named = {name: {**usual, "title": f"The {name}", **settings} for name, settings in told.items()}
        identity = IdentitySettings.model_validate({"local_accounts": local_accounts, "providers": named})
        changed = {"identity": identity, "web": WebSettings(**{"public_url": HOME, **(web or {})})}
        return Runtime(runtime.settings.model_copy(update=changed), runtime.database)

    return make


@pytest.fixture
def here(deployment: NewDeployment, idp: Minimal) -> Runtime:
    """A deployment with the one provider, called facility."""
    return deployment(facility={"issuer": idp.issuer})


@pytest.fixture
def portal(here: Runtime, launcher: FakeLauncher) -> APIFlask:
    """Its application."""
    return create_app(here, launcher)


@pytest.fixture
def browser(portal: APIFlask) -> FlaskClient:
    """A browser in which nobody is signed in."""
    return portal.test_client()


def to_provider(browser: FlaskClient, name: str = "facility", **query: str) -> str:
    """Press the provider's button; where the browser is sent."""
    answer = browser.get(f"/sign-in/{name}", query_string=query)
    assert answer.status_code == 303, answer.text
    return str(answer.location)


def come_back(browser: FlaskClient, answer: dict[str, str], name: str = "facility") -> TestResponse:
    """The provider sends the browser back with this answer."""
    return browser.get(f"/sign-in/{name}/callback", query_string=answer)


def sign_in(browser: FlaskClient, idp: Minimal, name: str = "facility", **query: str) -> TestResponse:
    """The whole way."""
    return come_back(browser, idp.answer_to(to_provider(browser, name, **query)), name)


def me(browser: FlaskClient) -> Any:
    """Who is signed in in this browser."""
    answer = browser.get("/api/v1/me")
    return answer.json if answer.status_code == 200 else None


def nobody_is_in(runtime: Runtime) -> bool:
    """Whether there is neither account, identity nor sign-in."""
    with runtime.database.reading() as db:
        return not any(db.scalar(select(func.count()).select_from(table)) for table in (User, Identity, SignIn))
