"""What people see of idle and working sessions, and what they can say to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from playwright.sync_api import expect

from agents.protocol import StatusAnswer
from broker.database import now
from broker.runtime import Runtime
from broker.sessions import idle
from broker.sessions.models import UserSession
from broker.settings import LeaseSettings
from tests.integration.web.conftest import AppWith, OpenAs
from tests.integration.web.served import is_live
from tests.integration.web.test_metrics import figures, labels

LEASES = LeaseSettings(idle_hours=2, idle_warn_minutes=20)
HEADER = {"X-Requested-With": "beamdesk"}
Say = Callable[..., None]


@pytest.fixture
def app(app_with: AppWith) -> APIFlask:
    """An application whose sessions end after two idle hours."""
    return app_with(leases=LEASES)


@pytest.fixture
def say(runtime: Runtime, ready_session: int) -> Say:
    """What the machine of Alice's session says: `say(idle_minutes=40)`, `say(work=("3.8 cores busy",))`."""
    here = Runtime(runtime.settings.model_copy(update={"leases": LEASES}), runtime.database)

    def told(idle_minutes: float = 0, work: tuple[str, ...] = ()) -> None:
        with runtime.database.transaction() as db:
            session = db.get_one(UserSession, ready_session)
            session.ready_at, session.last_active_at = now() - timedelta(hours=9), None
        answer = StatusAnswer(str(ready_session), "running", 0, 0, 1, idle_minutes * 60, "input", work)
        idle.hear(here, ready_session, answer)

    return told


def uses(browser: FlaskClient) -> Any:
    return browser.get("/api/v1/sessions").json[0]["use"]


def test_the_api_tells_the_use_and_takes_stay_and_keep(alice: FlaskClient, say: Say, ready_session: int) -> None:
    """`keep` is for a wish by name; anything else is refused."""
    assert (uses(alice)["state"], uses(alice)["warned"]) == ("unknown", False)
    say(idle_minutes=110)
    told = uses(alice)
    assert (told["state"], told["warned"], told["kept"], told["sign"]) == ("idle", True, False, "input")
    assert 1190 < told["seconds_left"] <= 1200, "a whole warning"
    stayed = alice.post(f"/api/v1/sessions/{ready_session}/stay", headers=HEADER).json["use"]
    assert (stayed["state"], stayed["warned"], round(stayed["seconds_left"], -2)) == ("in-use", False, 7200)
    kept = alice.post(f"/api/v1/sessions/{ready_session}/keep", json={"until": "work-ends"}).json["use"]
    assert (kept["kept"], kept["ends_at"]) == (True, None)
    say(work=("3.8 cores busy",))
    assert (uses(alice)["state"], uses(alice)["work"]) == ("working", "3.8 cores busy")
    assert alice.post(f"/api/v1/sessions/{ready_session}/keep", json={"until": None}).json["use"]["kept"] is False
    assert alice.post(f"/api/v1/sessions/{ready_session}/keep", json={"until": "for-ever"}).status_code == 422
    assert alice.post(f"/api/v1/sessions/{ready_session}/keep", json={}).status_code == 422


def test_figures_count_ready_sessions_by_their_use(admin: FlaskClient, say: Say) -> None:
    """What capacity is bound by sessions that nobody uses."""
    say(idle_minutes=40)
    assert figures(admin)["beamdesk_sessions_use", labels(environment="light", use="idle")] == 1
    say(work=("GPU 97 %",))
    found = figures(admin)
    assert found["beamdesk_sessions_use", labels(environment="light", use="working")] == 1
    assert found["beamdesk_sessions_use", labels(environment="light", use="idle")] == 0


def test_work_and_idleness_are_shown_live_and_can_be_answered(open_as: OpenAs, say: Say, ready_session: int) -> None:
    """On the list of desktops: what works may be kept until it is done; a warning has a button to stay."""
    page = open_as("alice")
    is_live(page)
    card, notices = page.locator("#sessions article"), page.locator("#notices")
    say(work=("3.8 cores busy",))
    expect(card).to_contain_text("Working: 3.8 cores busy")
    keep = card.get_by_role("switch", name="Keep until my work ends")
    keep.click()
    expect(keep).to_have_attribute("aria-checked", "true")
    keep.click()
    expect(keep).to_have_attribute("aria-checked", "false")
    say(idle_minutes=40)
    expect(card).to_contain_text("Idle for 40 min, ends in 1 h 19 min unless you use it")
    say(idle_minutes=115)
    expect(notices).to_contain_text("Light desktop was not used for 1 h 55 min and ends in 19 min.")
    notices.get_by_role("button", name="I am still here").click()
    expect(notices.get_by_role("alert")).to_have_count(0)
    expect(card).to_contain_text("Ends if it is not used for 2 h")
    expect(keep).to_have_attribute("aria-checked", "false")


def test_the_desktops_own_page_warns_and_a_click_stays(open_as: OpenAs, say: Say, ready_session: int) -> None:
    """Whoever looks on without a move sees it there; any use takes it away again."""
    page = open_as("alice", f"/desktop/{ready_session}")
    is_live(page)
    warning = page.get_by_role("alert").filter(has_text="used this desktop")
    say(idle_minutes=115)
    expect(warning).to_contain_text("Nobody has used this desktop for 1 h 55 min. It ends in 19 min.")
    say(idle_minutes=0.1)
    expect(warning).to_be_hidden()
    say(idle_minutes=115)
    warning.get_by_role("button", name="I am still here").click()
    expect(warning).to_be_hidden()


def test_administrators_see_which_sessions_work(admin: FlaskClient, say: Say) -> None:
    """In the table of sessions, with the load or the idle time."""

    def row() -> str:
        return " ".join(re.sub(r"<[^>]+>", " ", admin.get("/admin/panels/sessions").text).split())

    assert "Unknown" in row()
    say(work=("3.8 cores busy",))
    assert "Working 3.8 cores busy" in row()
    say(idle_minutes=40)
    assert "Idle 40 min" in row()
