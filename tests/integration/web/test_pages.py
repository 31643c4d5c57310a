"""The pages in a real browser: by keyboard, live, without reloads, on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Route, expect

from broker.database import now
from broker.identity.service import Person
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import UserSession
from broker.settings import WebSettings
from tests.conftest import NewPerson
from tests.integration.web.conftest import AppWith, NewMachines, OpenAs
from tests.integration.web.served import is_live, serve
from tests.waiting import until

HOLD_SIGN_OUT = """
  const refused = new Promise((resolve) => document.addEventListener("htmx:responseError", resolve));
  const ask = window.fetch;
  window.fetch = async (address, options) => {
    const answer = await ask(address, options);
    if (address.endsWith("/sign-out")) await refused;
    return answer;
  };
"""  # its answer comes after the page's own socket was closed, and its own request was refused

HOLD_LOOKS = """
  window.held = [];
  window.gone = 0;
  const ask = window.fetch;
  window.fetch = async (address, options) => {
    const answer = await ask(address, options);
    if (!address.includes("/fragments/launch/")) return answer;
    const html = await answer.text();
    if (!html.includes('data-state="ready"')) return new Response(html);
    const text = () => new Promise((release) => window.held.push(() => release(html)));
    return { ok: true, status: 200, text };
  };
  navigation.addEventListener("navigate", () => { window.gone += 1; });
"""  # what says that the desktop is ready arrives only when the test says so

HOLD_HISTORY = """
  window.held = [];
  const ask = window.fetch;
  window.fetch = async (address, options) => {
    if (address.includes("/history?")) await new Promise((release) => window.held.push(release));
    return ask(address, options);
  };
"""

DESK = re.compile(r"/desktop/\d+$")


def waiting_session(runtime: Runtime) -> int:
    """The id of the newest session, once there is one."""

    def newest() -> int | None:
        with runtime.database.reading() as db:
            return db.query(UserSession.id).order_by(UserSession.id.desc()).limit(1).scalar()

    return until(newest, "a session") or 0


def test_a_launch_by_keyboard_shows_its_steps_and_goes_to_the_desktop(
    open_as: OpenAs, new_machines: NewMachines, runtime: Runtime, make_ready: Callable[[int], None]
) -> None:
    """Enter on the button, the reason of the choice, then the desktop by itself."""
    new_machines("light-ral")
    page = open_as("alice")
    page.route(DESK, lambda route: route.fulfill(body="the desktop"))
    page.get_by_role("button", name="Launch").first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Light desktop")
    expect(dialog.get_by_role("listitem").filter(has_text="Start your desktop")).to_have_attribute(
        "aria-current", "step"
    )
    expect(dialog).to_contain_text("in Harwell, 1 core: smallest that fits")
    id_ = waiting_session(runtime)
    make_ready(id_)
    page.wait_for_url(f"**/desktop/{id_}")


def test_a_ready_desktop_is_gone_to_once(
    open_as: OpenAs, new_machines: NewMachines, runtime: Runtime, make_ready: Callable[[int], None]
) -> None:
    """The page was told of it while it looked by itself: both looks say ready, and the second breaks nothing off."""
    new_machines("light-ral")
    page = open_as("alice")
    page.route(DESK, lambda _: None)  # never answered: the page stays to be asked
    page.add_init_script(HOLD_LOOKS)
    page.reload()
    is_live(page)
    page.locator("#launch-light").click()
    make_ready(waiting_session(runtime))
    until(lambda: page.evaluate("window.held.length"), "a look that finds it ready")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: page.evaluate("window.held.length") >= 2, "a second one beside it")
    gone = page.evaluate("""async () => {
      window.held.forEach((release) => release());
      await new Promise((resolve) => setTimeout(resolve));
      return window.gone;
    }""")
    assert gone == 1


def test_a_click_that_comes_before_the_scripts_is_done(open_as: OpenAs, new_machines: NewMachines) -> None:
    """On a slow line the button is seen before it works; nobody has to click again."""
    new_machines("light-ral")
    page = open_as("alice")
    waiting: list[Route] = []
    page.route("**/js/page.js", lambda route: waiting.append(route))
    page.goto(page.url, wait_until="commit")
    page.locator("#launch-light").click()
    until(lambda: page.evaluate("window.earlyClick !== null") and waiting, "the click")
    expect(page.locator("#launch")).to_be_hidden()
    waiting[0].continue_()
    expect(page.locator("#launch")).to_be_visible(timeout=20000)


def test_a_double_click_launches_once(open_as: OpenAs, new_machines: NewMachines, runtime: Runtime) -> None:
    """The button is off while it works."""
    new_machines("light-ral", 3)
    page = open_as("alice")
    page.get_by_role("button", name="Launch").first.dblclick()
    expect(page.locator("#sessions article")).to_have_count(1)
    with runtime.database.reading() as db:
        assert db.query(UserSession).count() == 1


def test_the_options_are_sent_and_survive_a_refresh(
    open_as: OpenAs, new_machines: NewMachines, runtime: Runtime
) -> None:
    """What somebody chooses stays chosen, open and focused when availability changes under it."""
    new_machines("light-dl")
    page = open_as("alice")
    is_live(page)
    card = page.get_by_role("article", name="Light desktop")
    card.get_by_text("Options").click()
    card.get_by_label("Where").select_option("Daresbury")
    card.get_by_label("Where").focus()
    expect(card.get_by_role("row", name="Harwell")).to_contain_text("0")
    new_machines("light-ral", 2)
    with runtime.database.transaction() as db:  # a change that pages are told of
        service.events.changed(db, "machine", 1)
    expect(card.get_by_role("row", name="Harwell")).to_contain_text("2")
    expect(card.get_by_label("Where")).to_be_focused()
    card.get_by_role("button", name="Launch").click()
    id_ = waiting_session(runtime)
    with runtime.database.reading() as db:
        assert db.get_one(UserSession, id_).wish["location"] == "dl"


def test_a_second_launch_offers_to_return(open_as: OpenAs, ready_session: int) -> None:
    """The running desktop is one click away; another one is a second button."""
    page = open_as("alice")
    page.route(DESK, lambda route: route.fulfill(body="the desktop"))
    card = page.locator("#environment-light")
    expect(card.get_by_role("button", name="Launch another")).to_be_visible()
    card.get_by_role("button", name="Return to it").click()
    page.wait_for_url(f"**/desktop/{ready_session}")


def test_ending_asks_first_and_escape_keeps_the_desktop(open_as: OpenAs, ready_session: int, runtime: Runtime) -> None:
    """Enter alone keeps it, too; focus goes back to where it was; the page then shows the end without a reload."""
    page = open_as("alice")
    button = page.locator("#sessions").get_by_role("button", name="End", exact=True)
    button.click()
    dialog = page.get_by_role("dialog", name="End Light desktop?")
    expect(dialog).to_contain_text("Files in your home stay.")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    assert _state(runtime, ready_session) == "ready"
    button.click()
    page.get_by_role("button", name="End it").click()
    expect(page.locator("#sessions article")).to_contain_text("Ended by you")
    assert _state(runtime, ready_session) == "ending"


def _state(runtime: Runtime, session_id: int) -> str:
    with runtime.database.reading() as db:
        return str(db.get_one(UserSession, session_id).state)


def test_a_lease_near_its_end_is_warned_of_on_every_page_and_extended_there(
    open_as: OpenAs, ready_session: int, runtime: Runtime
) -> None:
    """The banner goes when there is time again."""
    with runtime.database.transaction() as db:
        db.get_one(UserSession, ready_session).expires_at = now() + timedelta(minutes=30)
    page = open_as("alice", "/history")
    banner = page.get_by_role("alert").filter(has_text="Light desktop ends in")
    expect(banner).to_contain_text(re.compile(r"(29|30) min"))
    banner.get_by_role("button", name="Extend").click()
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    expect(banner).to_have_count(0)
    with runtime.database.reading() as db:
        assert (db.get_one(UserSession, ready_session).expires_at or now()) > now() + timedelta(hours=20)


def test_what_somebody_else_does_is_seen_without_a_reload(
    open_as: OpenAs, ready_session: int, runtime: Runtime, new_person: NewPerson
) -> None:
    """An administrator ends the desktop: the user's page says so by itself."""
    page = open_as("alice")
    is_live(page)
    page.evaluate("window.stayed = true")
    service.end(runtime, new_person("ada", admin=True), ready_session)
    expect(page.locator("#sessions article")).to_contain_text("Ended by an administrator")
    assert page.evaluate("window.stayed")


def test_a_page_without_a_socket_asks_by_itself(
    open_as: OpenAs, runtime: Runtime, ready_session: int, new_person: NewPerson, app_with: AppWith
) -> None:
    """The server has no socket for it: the page still shows what happens, some seconds later."""
    with serve(app_with(web=WebSettings(live_sockets=1, live_sockets_per_user=1))) as address:
        first, second = (open_as("alice", at=f"http://{address}") for _ in range(2))
        is_live(first)
        service.end(runtime, new_person("ada", admin=True), ready_session)
        for page in (first, second):
            expect(page.locator("#sessions article")).to_contain_text("Ended by an administrator")
            page.goto("about:blank")


def test_the_ways_to_connect_are_explained(open_as: OpenAs, ready_session: int) -> None:
    """With the files and the very command."""
    page = open_as("alice")
    page.get_by_role("button", name="Connect").click()
    dialog = page.get_by_role("dialog", name="Connect to Light desktop")
    expect(dialog).to_contain_text(f"ssh -F beamdesk-{ready_session}.conf desktop")
    link = dialog.get_by_role("link", name=".rdp")
    assert (link.get_attribute("href") or "").endswith(f"/sessions/{ready_session}/connection.rdp")
    expect(dialog.get_by_role("button", name=".conf")).to_be_visible()


def test_an_error_leads_to_its_explanation(open_as: OpenAs, site: str) -> None:
    """The link of a page, and the `type` of a problem, end at the very line, in sight; so does the API's page."""
    page = open_as("alice")
    page.goto(f"{site}/nowhere")
    page.get_by_role("link", name="What does this mean?").click()
    page.wait_for_url(f"{site}/docs/errors#not-found")
    expect(page.locator("tr:target")).to_contain_text("Check the address")
    page.get_by_role("link", name="API", exact=True).click()
    page.wait_for_url(f"{site}/docs/api")
    expect(page.get_by_text("/api/v1/sessions/{session_id}/extend")).to_be_visible()
    page.goto(f"{site}/docs/errors#unexpected")
    expect(page.locator("tr:target")).to_be_in_viewport()
    line, head = page.locator("tr:target").bounding_box(), page.locator("header").bounding_box()
    assert line is not None
    assert head is not None
    assert line["y"] >= head["y"] + head["height"], "the header covers the line"


def test_signing_out_elsewhere_leads_to_the_sign_in_page(open_as: OpenAs, runtime: Runtime) -> None:
    """The socket is closed, the page asks, and is sent to sign in and back."""
    page = open_as("alice", "/history")
    is_live(page)
    other = page.context.new_page()
    other.goto(page.url)
    is_live(other)
    other.get_by_role("button", name="account menu").click()
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url("**/sign-in")
    page.wait_for_url("**/sign-in?next=**history")


def test_signing_out_leaves_the_page_once(open_as: OpenAs) -> None:
    """The page hears that its sign-in has ended while it still waits for the answer: it goes one way, not two."""
    page = open_as("alice")
    page.add_init_script(HOLD_SIGN_OUT)
    page.reload()
    is_live(page)
    gone_to: list[str] = []
    page.on("request", lambda request: gone_to.append(request.url) if request.is_navigation_request() else None)
    page.get_by_role("button", name="account menu").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    assert [address.rpartition("/")[2] for address in gone_to] == ["sign-in"]


def test_an_administrator_resizes_a_pool_and_sees_it(open_as: OpenAs, runtime: Runtime) -> None:
    """Asked, done, told, shown, audited."""
    page = open_as("ada", "/admin/", admin=True)
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    pool = page.get_by_role("article", name="light-ral")
    pool.get_by_role("button", name="Resize").click()
    dialog = page.get_by_role("dialog", name="Resize light-ral")
    dialog.get_by_label("Vacant machines kept").fill("4")
    dialog.get_by_label("Machines in all").fill("8")
    dialog.get_by_role("button", name="Resize").click()
    expect(page.locator("#toasts")).to_contain_text("light-ral: target 4, limit 8.")
    expect(pool).to_contain_text("vacant of 4")
    expect(page.locator("#events")).to_contain_text("pool resize light-ral by ada")
    pool.get_by_role("button", name="Resize").click()
    dialog.get_by_label("Vacant machines kept").fill("9")
    dialog.get_by_role("button", name="Resize").click()
    expect(dialog.get_by_role("alert")).to_contain_text("A pool cannot have target 9 and limit 8.")
    expect(dialog.get_by_label("Vacant machines kept")).to_have_value("9")


def test_a_plot_is_drawn_once_however_the_window_changes(open_as: OpenAs) -> None:
    """A plot whose figures come late, after the window was resized, is not drawn beside the new one."""
    page = open_as("ada", "/admin/", admin=True)
    page.add_init_script(HOLD_HISTORY)
    page.reload()
    is_live(page)
    page.set_viewport_size({"width": 1000, "height": 800})
    until(lambda: page.evaluate("window.held.length") >= 6, "each pool's figures to be asked for twice")
    page.evaluate("window.held.forEach((release) => release())")
    for pool in ("light-ral", "light-dl", "science-ral"):
        expect(page.locator(f"#plot-{pool} .uplot")).to_have_count(1)
    page.evaluate("new Promise((resolve) => setTimeout(resolve))")
    expect(page.locator(".uplot")).to_have_count(3)


def test_an_administrator_watches_a_launch_live(
    open_as: OpenAs, person: Person, runtime: Runtime, new_machines: NewMachines, make_ready: Callable[[int], None]
) -> None:
    """Row, state, time to desktop: nothing is reloaded. The plot stays where it was drawn."""
    new_machines("light-ral", 2)
    page = open_as("ada", "/admin/", admin=True)
    expect(page.locator("#plot-light-ral canvas")).to_be_visible()
    session = service.request(runtime, person, Wish(environment="light"))
    row = page.locator(f"#row-session-{session.id}")
    expect(row).to_contain_text("Starting")
    make_ready(session.id)
    expect(row).to_contain_text("Ready")
    expect(page.locator("#summary")).to_contain_text("Desktops ready")
    expect(page.locator("#plot-light-ral canvas")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_no_page_is_wider_than_its_window(
    open_as: OpenAs, ready_session: int, new_machines: NewMachines, width: int, scheme: str
) -> None:
    """On a laptop and on a phone, light and dark."""
    new_machines("science-ral", 1, MachineState.FAILED)
    page = open_as("alice", admin=True, width=width, color_scheme=scheme)
    for path in ("/", "/history", "/admin/", "/docs/api", "/docs/errors", "/nowhere"):
        page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/")[2] + path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} px too wide at {width}"
        assert page.evaluate("document.documentElement.dataset.bsTheme") == scheme


def test_a_failed_machine_is_shown_with_its_picture_and_tried_again(
    open_as: OpenAs, runtime: Runtime, new_machines: NewMachines
) -> None:
    """The failure's own words, the evidence, and one button."""
    id_ = new_machines("light-ral", 1, MachineState.FAILED)[0]
    with runtime.database.transaction() as db:
        db.get_one(Machine, id_).failure = "The probe saw a blank screen."
        db.get_one(Machine, id_).evidence = f"machine-{id_}.png"
    page = open_as("ada", "/admin/", admin=True)
    row = page.locator(f"#machine-{id_}")
    expect(row).to_contain_text("The probe saw a blank screen.")
    row.get_by_role("button", name="What the probe saw").click()
    expect(page.get_by_role("dialog", name=f"What the probe saw of light-{id_}")).to_be_visible()
    page.keyboard.press("Escape")
    row.get_by_role("button", name="Retry").click()
    page.get_by_role("button", name="Try again").click()
    expect(row).to_contain_text("Deleting")
