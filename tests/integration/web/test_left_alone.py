"""Pages that were left alone: behind another tab, over a restart of the broker, in another zone, gone back to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from broker.database import now
from broker.identity.service import create_account
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import UserSession
from broker.settings import WebSettings
from tests.conftest import NewPerson
from tests.integration.web.conftest import AppWith, NewMachines, OpenAs
from tests.integration.web.served import is_live, serve, web_process
from tests.ports import free_port

ODD = 'Müon "µSR" <b>& O\'Brien</b> ${x} {{y}}'
HIDE = "Object.defineProperty(document, 'hidden', { get: () => true })"


def test_a_page_outlives_a_restart_of_the_broker(
    open_as: OpenAs, runtime: Runtime, ready_session: int, new_person: NewPerson
) -> None:
    """It says that nobody answers, tries again by itself, and then shows what happened meanwhile."""
    port = free_port()
    with web_process(port):
        page = open_as("alice", at=f"http://127.0.0.1:{port}")
        is_live(page)
        page.evaluate("window.stayed = true")
    expect(page.locator("#offline")).to_be_visible()
    service.end(runtime, new_person("ada", admin=True), ready_session)
    with web_process(port):
        expect(page.locator("#sessions article")).to_contain_text("Ended by an administrator", timeout=40_000)
        expect(page.locator("#offline")).to_be_hidden()
        expect(page.locator("html")).to_have_attribute("data-live", "socket", timeout=40_000)
        assert page.evaluate("window.stayed"), "nothing was reloaded"
        page.goto("about:blank")


def test_a_click_while_nobody_answers_says_so_and_launches_nothing(
    open_as: OpenAs, runtime: Runtime, new_machines: NewMachines
) -> None:
    """In words, not as a button that does nothing."""
    new_machines("light-ral")
    page = open_as("alice")
    page.route("**/api/v1/sessions", lambda route: route.abort("connectionrefused"))
    page.get_by_role("button", name="Launch").first.click()
    expect(page.locator("#toasts")).to_contain_text("Check your network, then try again.")
    expect(page.get_by_role("dialog")).to_have_count(0)
    with runtime.database.reading() as db:
        assert db.query(UserSession).count() == 0


def test_a_hidden_page_without_a_socket_still_learns_what_happens(
    open_as: OpenAs, runtime: Runtime, ready_session: int, new_person: NewPerson, app_with: AppWith
) -> None:
    """Who waits behind another tab is to be notified; such a page asks less often."""
    with serve(app_with(web=WebSettings(live_sockets=1, live_sockets_per_user=1))) as address:
        first, hidden = (open_as("alice", at=f"http://{address}") for _ in range(2))
        is_live(first)
        hidden.clock.install()
        hidden.add_init_script(HIDE)
        hidden.reload()
        service.end(runtime, new_person("ada", admin=True), ready_session)
        hidden.clock.fast_forward(16_000)
        expect(hidden.locator("#sessions article")).to_contain_text("Ended by an administrator")
        for page in (first, hidden):
            page.goto("about:blank")


def test_going_back_shows_what_is_now(
    open_as: OpenAs, site: str, runtime: Runtime, ready_session: int, new_person: NewPerson
) -> None:
    """The list that one comes back to, and the desktop that has ended meanwhile."""
    page = open_as("alice")
    is_live(page)
    page.get_by_role("link", name="History").click()
    page.wait_for_url("**/history")
    service.end(runtime, new_person("ada", admin=True), ready_session)
    page.go_back()
    page.wait_for_url(f"{site}/")
    expect(page.locator("#sessions article")).to_contain_text("Ended by an administrator")
    expect(page.get_by_role("link", name="Open desktop")).to_have_count(0)
    page.goto(f"{site}/desktop/{ready_session}")
    expect(page.locator("body")).to_contain_text("This session has ended")
    expect(page.locator("body")).to_contain_text("Ended by an administrator.")


def test_a_click_on_what_has_ended_elsewhere_changes_nothing(
    open_as: OpenAs, runtime: Runtime, ready_session: int, person: object
) -> None:
    """Two tabs: one extends what the other has ended, and says why it cannot."""
    page = open_as("alice")
    page.get_by_role("button", name="Extend").click()
    dialog = page.get_by_role("dialog", name="Extend Light desktop")
    expect(dialog).to_be_visible()
    service.end(runtime, person, ready_session)  # type: ignore[arg-type]
    dialog.get_by_role("button", name="Extend").click()
    expect(page.locator("#toasts")).to_contain_text("only a ready one can be extended")
    expect(page.locator("#sessions article")).to_contain_text("Ended by you")


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/St_Johns"])
def test_times_are_the_readers_own(open_as: OpenAs, runtime: Runtime, ready_session: int, zone: str) -> None:
    """The end of a lease by the clock on the reader's wall; what is left is the same everywhere."""
    ends = now() + timedelta(hours=30, minutes=30)
    with runtime.database.transaction() as db:
        db.get_one(UserSession, ready_session).expires_at = ends
    page = open_as("alice", timezone_id=zone, locale="en-GB")
    lease = page.locator("#sessions .lease")
    expect(lease).to_contain_text("1 d 6 h left")
    expect(lease).to_contain_text(ends.astimezone(ZoneInfo(zone)).strftime("%H:%M"))
    expect(lease).to_contain_text("GMT")
    typed = now().replace(hour=9, minute=41)
    with runtime.database.transaction() as db:
        session = db.get_one(UserSession, ready_session)
        service.close(db, session, reason=f"idle for 2 h; its last activity was input at {typed:%H:%M} UTC")
    ended = page.locator("#sessions article")
    expect(ended).to_contain_text(typed.astimezone(ZoneInfo(zone)).strftime("%H:%M GMT"))


def test_odd_names_are_shown_as_they_are(
    open_as: OpenAs,
    app_with: AppWith,
    runtime: Runtime,
    new_machines: NewMachines,
    make_ready: Callable[[int], None],
) -> None:
    """Quotes, brackets, umlauts: in lists, dialogs and the dashboard they are text and nothing else."""
    light = runtime.settings.environments["light"].model_copy(update={"title": ODD})
    with serve(app_with(environments={**runtime.settings.environments, "light": light})) as address:
        page = open_as("alice", at=f"http://{address}", admin=True)
        person = create_account(runtime, "alice", ODD, "alice-secret")
        new_machines("light-ral")
        make_ready(service.request(runtime, person, service.Wish("light")).id)
        page.reload()
        expect(page.locator("#sessions h3")).to_contain_text(ODD)
        expect(page.locator(".who-name")).to_have_text(ODD)
        page.get_by_role("button", name="End", exact=True).click()
        expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(f"End {ODD}?")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Connect").click()
        expect(page.get_by_role("dialog").get_by_role("heading").first).to_have_text(f"Connect to {ODD}")
        page.keyboard.press("Escape")
        create_account(runtime, "ada", "Ada", "ada-secret")
        dashboard = open_as("ada", "/admin/", at=f"http://{address}", admin=True)
        expect(dashboard.locator("#sessions tbody tr")).to_contain_text(ODD)
        assert dashboard.locator("#sessions tbody b b").count() == 0
        for shown in (page, dashboard):
            shown.goto("about:blank")
