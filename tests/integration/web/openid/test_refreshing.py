"""While a sign-in lives: groups come and go as the provider says, and its no ends the sign-in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from rq import Queue, SimpleWorker
from sqlalchemy import select, update

from broker.database import now
from broker.identity import refreshing
from broker.identity.models import Identity, SignIn
from broker.runtime import Runtime
from tests.integration.web.openid.conftest import NewDeployment, me, sign_in
from tests.peers.oidc.minimal import Minimal


def make_due(runtime: Runtime) -> int:
    """Let the one sign-in be due for a refresh; its id."""
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).values(refresh_at=now() - timedelta(seconds=1)))
        return db.scalars(select(SignIn.id)).one()


def entry(runtime: Runtime) -> SignIn:
    with runtime.database.reading() as db:
        return db.scalars(select(SignIn)).one()


def test_groups_change_while_one_is_signed_in(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """Without signing in again; again and again, though each refresh token is good once."""
    idp.person["groups"] = ["few"]
    sign_in(browser, idp)
    for groups in (["few", "many"], ["many"], []):
        idp.person["groups"] = groups
        assert refreshing.refresh(here, make_due(here))
        assert me(browser)["groups"] == groups


def test_only_what_is_due_is_asked(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """The settings say how often."""
    sign_in(browser, idp)
    assert timedelta(minutes=9) < (entry(here).refresh_at or now()) - now() < timedelta(minutes=11)
    assert not refreshing.refresh(here, entry(here).id)
    assert idp.seen.count("/token") == 1


def test_a_refusal_ends_the_sign_in(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """The account was closed there, or somebody withdrew the consent."""
    sign_in(browser, idp)
    idp.refresh_error = "invalid_grant"
    refreshing.refresh(here, make_due(here))
    assert me(browser) is None
    assert entry(here).revoked_at is not None
    assert entry(here).sealed_tokens is None


def test_who_leaves_the_groups_that_may_enter_is_out(
    deployment: NewDeployment, idp: Minimal, browser: FlaskClient
) -> None:
    """At the next refresh."""
    runtime = deployment(facility={"issuer": idp.issuer, "only_groups": ["few"]})
    idp.person["groups"] = ["few"]
    sign_in(browser, idp)
    idp.person["groups"] = []
    refreshing.refresh(runtime, make_due(runtime))
    assert me(browser) is None


@pytest.mark.parametrize("error", ["invalid_client", "temporarily_unavailable"])
def test_what_is_not_about_the_person_ends_nothing(
    here: Runtime, browser: FlaskClient, idp: Minimal, error: str
) -> None:
    """Our own mistake, as a secret that has changed, throws nobody out; it is tried again."""
    sign_in(browser, idp)
    idp.refresh_error = error
    refreshing.refresh(here, make_due(here))
    assert me(browser) is not None
    assert now() < (entry(here).refresh_at or now()) < now() + timedelta(minutes=3)


def _goes(handler: Any) -> None:
    handler.connection.close()


def test_a_provider_that_is_away_ends_nothing(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """And is asked again later, with the same token."""
    idp.person["groups"] = ["few"]
    sign_in(browser, idp)
    idp.faults["/token"] = _goes
    refreshing.refresh(here, make_due(here))
    assert me(browser)["groups"] == ["few"]
    idp.faults.clear()
    idp.person["groups"] = ["many"]
    refreshing.refresh(here, make_due(here))
    assert me(browser)["groups"] == ["many"]


def test_a_refresh_about_another_person_changes_nothing(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """Whatever the provider mixes up."""
    sign_in(browser, idp)
    idp.person = {"sub": "bob", "groups": ["operators"]}
    refreshing.refresh(here, make_due(here))
    assert me(browser)["groups"] == []
    assert me(browser)["name"] == "alice"


def test_of_two_workers_one_refreshes(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """A refresh token that is used twice is a theft to the provider, which would end everything."""
    sign_in(browser, idp)
    due = make_due(here)
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: refreshing.refresh(here, due), range(8)))
    assert done.count(True) == 1
    assert idp.seen.count("/token") == 2
    assert me(browser) is not None


def test_who_signed_out_meanwhile_stays_out(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """The answer to a refresh that was under way revives nothing."""
    sign_in(browser, idp)
    due = make_due(here)

    def signs_out(handler: Any) -> None:
        browser.post("/api/v1/sign-out", headers={"X-Requested-With": "test"})
        del idp.faults["/me"]
        handler.say(idp.person)

    idp.faults["/me"] = signs_out
    refreshing.refresh(here, due)
    assert entry(here).revoked_at is not None
    assert entry(here).sealed_tokens is None
    assert entry(here).refresh_at is None


def test_the_manager_queues_and_a_worker_does_it(
    here: Runtime, browser: FlaskClient, idp: Minimal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each provider, however often the manager looks."""
    monkeypatch.setattr(refreshing, "current", lambda: here)
    sign_in(browser, idp)
    refreshing.enqueue_due(here)
    queue = Queue("sign-ins", connection=here.redis)
    assert queue.count == 0, "nothing is due"
    idp.person["groups"] = ["many"]
    make_due(here)
    for _ in range(3):
        refreshing.enqueue_due(here)
    assert queue.count == 1
    SimpleWorker([queue], connection=here.redis).work(burst=True, logging_level="WARNING")
    assert me(browser)["groups"] == ["many"]


def test_a_provider_that_was_taken_out_of_the_settings_lets_nobody_stay(
    deployment: NewDeployment, here: Runtime, browser: FlaskClient, idp: Minimal, second: Minimal
) -> None:
    """Its sign-ins end when they would have been refreshed."""
    sign_in(browser, idp)
    without = deployment(other={"issuer": second.issuer})
    refreshing.refresh(without, make_due(without))
    assert me(browser) is None


def test_tokens_are_kept_sealed(here: Runtime, browser: FlaskClient, idp: Minimal) -> None:
    """Who reads the database can use none of them."""
    sign_in(browser, idp)
    kept = entry(here).sealed_tokens or ""
    assert len(kept) > 100
    assert "eyJ" not in kept
    assert not any(token in kept for token in idp._refresh)
    with here.database.reading() as db:
        assert db.scalars(select(Identity.subject)).all() == ["alice"]
