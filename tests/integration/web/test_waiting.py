"""What a page does while its user waits, or does something else: queue, notification, lease."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from broker.database import now
from broker.pools.allocation import Wish
from broker.pools.models import BuildTime
from broker.runtime import Runtime
from broker.sessions import service, upkeep
from broker.sessions.models import UserSession
from broker.sessions.upkeep import SessionUpkeep
from tests.conftest import FakeLauncher, NewPerson
from tests.integration.web.conftest import NewMachines, OpenAs
from tests.integration.web.served import is_live
from tests.waiting import until

NOTE_NOTIFICATIONS = """
  window.shown = [];
  window.Notification = class extends window.Notification {
    constructor(title, options) {
      super(title, options);
      this.addEventListener("show", () => window.shown.push(title));
    }
    static async requestPermission() {
      await window.allow();
      return super.requestPermission();
    }
  };
"""  # the browser's own, which tell when they are on the screen; who is asked for permission gives it


@pytest.fixture
def their_browser(chromium: Browser) -> Browser:
    """One that has notifications."""
    return chromium


@pytest.fixture
def keeper(runtime: Runtime, launcher: FakeLauncher, monkeypatch: pytest.MonkeyPatch) -> SessionUpkeep:
    """The manager's part that looks after sessions; preparing is left out here, too."""
    monkeypatch.setattr(upkeep, "Launcher", lambda _: launcher)
    return SessionUpkeep(runtime)


def listening(page: Page) -> Page:
    """The page, afresh, with all its notifications written down."""
    page.expose_function("allow", lambda: page.context.grant_permissions(["notifications"]))
    page.add_init_script(NOTE_NOTIFICATIONS)
    page.reload()
    is_live(page)
    return page


def test_who_waits_sees_place_and_estimate_and_is_notified_when_it_has_started_by_itself(
    open_as: OpenAs,
    runtime: Runtime,
    keeper: SessionUpkeep,
    launcher: FakeLauncher,
    new_person: NewPerson,
    new_machines: NewMachines,
    make_ready: Callable[[int], None],
) -> None:
    """Permission is asked for by a click in the queue only; nothing else is clicked until the desktop is there."""
    with runtime.database.transaction() as db:
        db.add(BuildTime(pool="light-ral", seconds=120))
    service.request(runtime, new_person("bob"), Wish("light"))
    page = listening(open_as("alice"))
    page.get_by_role("button", name="Join the queue").click()
    dialog = page.get_by_role("dialog", name="Light desktop")
    expect(dialog).to_contain_text("1 before you, about 2 min")
    assert page.evaluate("Notification.permission") == "default", "nobody asked yet"
    dialog.get_by_role("button", name="Notify me").click()
    expect(page.locator("#toasts")).to_contain_text("You will be notified")
    dialog.get_by_role("button", name="Close").click()
    mine = page.locator("#sessions article")
    expect(mine).to_contain_text("1 before you, about 2 min")
    expect(mine.get_by_role("button", name="Notify me")).to_be_hidden()
    new_machines("light-ral", 2)
    keeper.tend()
    assert len(launcher.started) == 2
    expect(mine).to_contain_text("Starting")
    make_ready(launcher.started[1])
    expect(mine.get_by_role("link", name="Open desktop")).to_be_visible()
    until(lambda: page.evaluate("window.shown") == ["Light desktop is ready"], "the notification")


def test_who_waits_is_told_why_and_takes_what_is_free_elsewhere(
    open_as: OpenAs, launcher: FakeLauncher, new_machines: NewMachines
) -> None:
    """A machine that is smaller than wished, by one click; the place in the queue is not needed any more."""
    new_machines("light-ral")
    page = open_as("alice")
    card = page.locator("#environment-light")
    card.get_by_text("Options").click()
    card.get_by_label("Cores").select_option("4")
    card.get_by_role("button", name="Launch").click()
    dialog = page.get_by_role("dialog", name="Light desktop")
    expect(dialog).to_contain_text("1 core in Harwell, now")
    dialog.get_by_text("Why must I wait?").click()
    expect(dialog).to_contain_text("Harwell, 1 core has 1 core, 4 wished.")
    expect(dialog).to_contain_text("Daresbury, 4 cores, 1 GPU has none vacant; one is made on request.")
    dialog.get_by_role("button", name="Take this").click()
    expect(dialog).to_contain_text("in Harwell, 1 core: smallest that fits")
    expect(dialog.get_by_role("button", name="Take this")).to_have_count(0)
    until(lambda: len(launcher.started) == 1, "the launch")


def test_what_is_only_preferred_never_makes_one_wait(open_as: OpenAs, new_machines: NewMachines) -> None:
    """A place that one would rather have, and the data's: the desktop starts where a machine is vacant."""
    new_machines("light-ral")
    page = open_as("alice")
    card = page.locator("#environment-light")
    card.get_by_text("Options").click()
    card.get_by_label("Where").select_option("rather Daresbury")
    card.get_by_label("Near the data").select_option("Daresbury")
    card.get_by_role("button", name="Launch").click()
    expect(page.get_by_role("dialog", name="Light desktop")).to_contain_text(
        "in Harwell, 1 core: smallest that fits; 1 vacant"
    )


def test_who_forbids_notifications_is_told_what_to_do_instead(open_as: OpenAs, runtime: Runtime) -> None:
    """The place is kept all the same."""
    page = open_as("alice")
    page.get_by_role("button", name="Launch").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Notify me").click()  # a browser without a window says no
    expect(page.locator("#toasts")).to_contain_text("Keep this page open: it tells you here.")
    expect(page.get_by_role("dialog")).to_contain_text("You are next")


def test_a_launch_that_fails_says_so_and_stays_in_sight(
    open_as: OpenAs, runtime: Runtime, new_machines: NewMachines, launcher: FakeLauncher
) -> None:
    """In the dialog and, after it is closed, among one's desktops, until the environment is launched again."""
    new_machines("light-ral", 2)
    page = open_as("alice")
    page.get_by_role("button", name="Launch").first.click()
    dialog = page.get_by_role("dialog", name="Light desktop")
    expect(dialog).to_contain_text("Start your desktop")
    until(lambda: launcher.started, "the launch")
    with runtime.database.transaction() as db:
        service.fail(db, db.get_one(UserSession, launcher.started[0]), "No machine could start the desktop")
    expect(dialog).to_contain_text("This did not work. No machine could start the desktop")
    dialog.get_by_role("button", name="Close").click()
    mine = page.locator("#sessions article")
    expect(mine).to_contain_text("Failed")
    expect(mine).to_contain_text("No machine could start the desktop. Files in your home are safe.")
    page.get_by_role("button", name="Launch").first.click()
    expect(mine).to_have_count(1)
    expect(mine).to_contain_text("Starting")


def test_a_lease_warns_in_time_and_ends_while_the_page_is_open(
    open_as: OpenAs, ready_session: int, runtime: Runtime, keeper: SessionUpkeep
) -> None:
    """The warning comes by itself, goes when time is given, and the end is told with its reason."""

    def let_it_end(**time: float) -> None:
        with runtime.database.transaction() as db:
            db.get_one(UserSession, ready_session).expires_at = now() + timedelta(**time)
        keeper.tend()

    page = open_as("alice")
    is_live(page)
    page.evaluate("window.stayed = true")
    warning = page.get_by_role("alert").filter(has_text="Light desktop ends in")
    expect(warning).to_have_count(0)
    let_it_end(minutes=9, seconds=30)
    expect(warning).to_contain_text(re.compile(r"[89] min"))
    warning.get_by_role("button", name="Extend").click()
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    expect(warning).to_have_count(0)
    let_it_end(seconds=-1)
    expect(page.locator("#sessions article")).to_contain_text("Its lease is over")
    with runtime.database.transaction() as db:
        service.finish(db, db.get_one(UserSession, ready_session))
    expect(page.locator("#sessions article")).to_contain_text("Ended")
    expect(page.locator("#toasts")).to_contain_text("Light desktop has ended.")
    assert page.evaluate("window.stayed")
