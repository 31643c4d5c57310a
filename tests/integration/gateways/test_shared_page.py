"""Sharing in the real browser, through a real gateway, on a real desktop: the owner's panel and the guest's page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update

from broker.identity.models import User
from broker.identity.rights import Role
from tests.integration.gateways.lab import PATTERN, Screen
from tests.integration.gateways.portal import PHONE, PICTURES, Portal, connected
from tests.waiting import until

BLUE, RED = (0x22, 0x66, 0xAA), (0xAA, 0x22, 0x22)
WIDTH = "document.documentElement.scrollWidth"


def colour(page: Page, where: str = "#screen canvas") -> tuple[int, ...]:
    """The colour in the middle of what the page shows of the desktop."""
    script = """(where) => {
        const canvas = document.querySelector(where);
        const pixel = canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
        return [...pixel].slice(0, 3);
    }"""
    return tuple(page.evaluate(script, where))


SEEK = """async (moment) => {
    const range = document.getElementById("replay-at");
    range.value = moment;
    range.dispatchEvent(new Event("input"));
    await new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)));
}"""


def moments(page: Page) -> Iterator[tuple[int, ...]]:
    """The colours of a recording, moment after moment, from its begin."""
    for moment in range(0, int(float(page.locator("#replay-at").get_attribute("max") or 0)) + 50, 50):
        page.evaluate(SEEK, moment)
        if page.locator("#replay canvas").count():
            yield colour(page, "#replay canvas")


def share(page: Page, user: str, *, control: bool = False) -> None:
    """In the open panel."""
    page.locator("#sharing [name=user]").fill(user)
    page.locator("#sharing [name=control]").select_option("yes" if control else "no")
    page.locator("#sharing").get_by_role("button", name="Share", exact=True).click()


@pytest.fixture
def blue(screen: Screen) -> Iterator[Screen]:
    """The screen, all blue; the pointer, which a guest sees as a part of it, is out of the way."""
    screen.run("xsetroot", "-solid", "#2266aa")
    screen.run("xdotool", "mousemove", "0", "0")
    yield screen
    screen.run("xsetroot", *PATTERN)


def test_a_guest_looks_and_is_seen_and_is_sent_away(portal: Portal, blue: Screen) -> None:
    """The owner shares from the desktop's bar; the guest sees the real picture, types in vain, reads why it ended."""
    desk = portal.lab.desk()
    token, _ = portal.sign_in("bob")
    bob = portal.open(token, "/")
    alice = connected(portal.open(desk.token, f"/desktop/{desk.session_id}"))
    alice.get_by_role("button", name="Share").click()
    expect(alice.locator("#sharing")).to_contain_text("You share this desktop with nobody.")
    share(alice, "bob")
    expect(alice.locator("#sharing .guests")).to_contain_text("Bob")
    alice.screenshot(path=PICTURES / "share-panel.png")
    card = bob.get_by_role("article").filter(has_text="Shared with you")
    expect(card).to_contain_text("You can look")
    bob.screenshot(path=PICTURES / "shared-home.png")
    card.get_by_role("link", name="Open desktop").click()
    connected(bob)
    until(lambda: colour(bob) == BLUE, "the desktop's own colour")
    expect(bob.get_by_role("button", name="Sound")).to_be_visible()
    for name in ("Clipboard", "Keys", "Extend", "End", "RDP", "SSH"):
        expect(bob.locator(f'.desk-bar [title^="{name}"]:visible')).to_have_count(0)
    expect(alice.locator("#sharing .guests")).to_contain_text("is here now")
    alice.locator("#sharing [data-close]").click()
    expect(alice.locator(".desk-guests")).to_have_text("Bob is here")
    alice.screenshot(path=PICTURES / "share-desktop.png")
    bob.screenshot(path=PICTURES / "shared-desktop.png")
    with blue.program("stdbuf", "-oL", "xev", "-geometry", "800x600+0+0") as printed:
        until(lambda: "Expose" in printed(), "xev's window")
        bob.locator("#screen canvas").click()
        bob.keyboard.type("zzz")
        alice.locator("#screen canvas").click()
        alice.keyboard.type("m")
        until(lambda: "keysym 0x6d, m" in printed(), "the owner's key")
        assert "keysym 0x7a" not in printed()
    alice.get_by_role("button", name="Share").click()
    alice.locator("#sharing [data-withdraw]").click()
    expect(bob.get_by_role("heading", name="No longer shared with you")).to_be_visible()
    expect(bob.locator("[data-cover]")).to_contain_text("Alice shares it with you no longer.")
    bob.screenshot(path=PICTURES / "shared-over.png")
    alice.locator("#sharing [data-close]").click()
    expect(alice.locator(".desk-guests")).to_be_hidden()
    assert connected(alice)


def test_a_link_is_read_agreed_to_and_opened_on_a_phone(portal: Portal, screen: Screen) -> None:
    """The visitor reads what the owner sees; with control the keys arrive; control is taken back while it is open."""
    desk = portal.lab.desk()
    alice = portal.open(desk.token, "/", size=PHONE)
    alice.get_by_role("button", name="Share").click()
    share(alice, "", control=True)
    expect(alice.locator("#sharing [data-link]")).to_contain_text("/share/")
    link = alice.locator("#sharing [data-link]").inner_text()
    alice.screenshot(path=PICTURES / "share-panel-phone.png")
    assert alice.evaluate(WIDTH) <= 390
    token, _ = portal.sign_in("bob")
    bob = portal.open(token, "/share/" + link.rsplit("/", 1)[1], size=PHONE)
    expect(bob.locator("main")).to_contain_text("What Alice sees")
    bob.screenshot(path=PICTURES / "share-invitation-phone.png", full_page=True)
    assert bob.evaluate(WIDTH) <= 390
    bob.get_by_role("button", name="I agree, open it").click()
    connected(bob)
    bob.screenshot(path=PICTURES / "shared-desktop-phone.png")
    assert bob.evaluate(WIDTH) <= 390
    expect(alice.locator("#sharing .guests")).to_contain_text("came by your link")
    with screen.program("stdbuf", "-oL", "xev", "-geometry", "800x600+0+0") as printed:

        def typed() -> bool:
            bob.locator("#screen canvas").click()
            bob.keyboard.type("b")
            return "keysym 0x62, b" in printed()

        until(typed, "the guest's key in xev", every=0.3)
    alice.locator("#sharing [data-close]").click()
    expect(alice.locator("#sessions")).to_contain_text("is here and can control it")
    alice.get_by_role("button", name="Share").click()
    share(alice, "bob")
    expect(alice.locator("#sharing .guests li")).to_have_count(3)
    alice.get_by_role("button", name="Withdraw all").click()
    expect(alice.locator("#sharing")).to_contain_text("You share this desktop with nobody.")
    expect(bob.get_by_role("heading", name="No longer shared with you")).to_be_visible()


def test_control_that_is_taken_back_reconnects_as_a_look(portal: Portal) -> None:
    """The page goes on by itself, without the buttons that need control."""
    desk = portal.lab.desk()
    token, _ = portal.sign_in("bob")
    alice = portal.open(desk.token, "/")
    alice.get_by_role("button", name="Share").click()
    share(alice, "bob", control=True)
    expect(alice.locator("#sharing .guests")).to_contain_text("may control it")
    bob = portal.open(token, "/")
    bob.get_by_role("link", name="Open desktop").click()
    connected(bob)
    expect(bob.locator('[data-do="clipboard"]')).to_be_visible()
    share(alice, "bob")
    expect(bob.locator("[data-may]")).to_have_text("you can look")
    expect(bob.locator('[data-do="clipboard"]')).to_be_hidden()
    until(lambda: bob.evaluate("performance.getEntriesByName('connected').length") == 2, "the page to connect again")
    connected(bob)


def test_the_owner_sees_a_guest_leave(portal: Portal) -> None:
    """One that closes the tab, and says nothing; live, beside the desktop and on the start page."""
    desk = portal.lab.desk()
    token, _ = portal.sign_in("bob")
    alice, home = portal.open(desk.token, f"/desktop/{desk.session_id}"), portal.open(desk.token, "/")
    connected(alice).get_by_role("button", name="Share").click()
    share(alice, "bob")
    bob = portal.open(token, "/")
    bob.get_by_role("link", name="Open desktop").click()
    connected(bob)
    expect(home.locator("#sessions")).to_contain_text("Bob is here and looks")
    alice.locator("#sharing [data-close]").click()
    expect(alice.locator(".desk-guests")).to_be_visible()
    bob.close()
    expect(alice.locator(".desk-guests")).to_be_hidden()
    expect(home.locator("#sessions")).not_to_contain_text("is here")


def test_support_is_let_in_and_what_it_saw_is_replayed(portal: Portal, blue: Screen) -> None:
    """Asked from the dashboard, allowed beside the desktop, opened from the dashboard; then replayed by the owner."""
    with portal.lab.runtime.database.transaction() as db:
        db.execute(update(User).where(User.name == "bob").values(role=Role.SUPPORT))
    desk = portal.lab.desk()
    token, _ = portal.sign_in("bob")
    support = portal.open(token, "/admin/")
    alice = connected(portal.open(desk.token, f"/desktop/{desk.session_id}"))
    support.get_by_role("button", name="Ask to join").click()
    support.get_by_label("Why").fill("your plot does not open")
    support.get_by_role("button", name="Ask", exact=True).click()
    question = alice.get_by_role("alert").filter(has_text="of support asks to join")
    expect(question).to_contain_text("Bob of support asks to join this desktop: “your plot does not open”")
    alice.screenshot(path=PICTURES / "support-asks.png")
    portal_page = portal.open(desk.token, "/", size=PHONE)
    expect(portal_page.get_by_role("alert")).to_contain_text("Bob of support asks to join")
    portal_page.screenshot(path=PICTURES / "support-asks-phone.png")
    assert portal_page.evaluate(WIDTH) <= 390
    question.get_by_role("button", name="Allow to look").click()
    expect(question).to_be_hidden()
    support.get_by_role("link", name="Open desktop").click()
    connected(support)
    expect(alice.locator(".desk-guests")).to_have_text("Bob is here")
    until(lambda: colour(support) == BLUE, "support to see it")
    expect(support.get_by_role("button", name="Sound")).to_be_hidden()
    blue.run("xsetroot", "-solid", "#aa2222")
    until(lambda: colour(support) == RED, "support to see the change")
    support.close()
    expect(alice.locator(".desk-guests")).to_be_hidden()
    blue.run("xsetroot", "-solid", "#22aa22")
    alice.get_by_role("button", name="Share").click()
    address = alice.locator("#sharing .recorded a").get_attribute("href")
    assert address
    replay = portal.open(desk.token, address)
    expect(replay.get_by_role("button", name="Play")).to_be_enabled()
    replay.get_by_role("button", name="Play").click()
    until(lambda: colour(replay, "#replay canvas") == RED, "the last picture to be replayed", 30)
    expect(replay.get_by_role("button", name="Play")).to_be_visible()
    assert {BLUE, RED} <= set(moments(replay)), "what was seen for a moment is not to be found"
    replay.screenshot(path=PICTURES / "replay.png")
    other, _ = portal.sign_in("bob")
    assert portal.open(other, address).locator("main").inner_text().count("404")


def test_an_administrator_is_seen_at_once(portal: Portal) -> None:
    """Who and why stand beside the desktop for as long as it lasts."""
    with portal.lab.runtime.database.transaction() as db:
        db.execute(update(User).where(User.name == "bob").values(role=Role.ADMIN))
    desk = portal.lab.desk()
    token, _ = portal.sign_in("bob")
    administrator = portal.open(token, "/admin/")
    alice = connected(portal.open(desk.token, f"/desktop/{desk.session_id}"))
    administrator.get_by_role("button", name="More for").click()
    administrator.get_by_role("button", name="Break glass…").click()
    administrator.get_by_label("Why nobody can be asked").fill("it attacks another machine")
    administrator.screenshot(path=PICTURES / "break-glass.png")
    administrator.get_by_role("button", name="Break the glass").click()
    connected(administrator)
    notice = alice.locator("[data-glass]")
    expect(notice).to_contain_text("Bob, an administrator, may look at this desktop: “it attacks another machine”")
    alice.screenshot(path=PICTURES / "break-glass-seen.png")
    alice.get_by_role("button", name=re.compile("Share")).click()
    alice.locator("#sharing [data-withdraw]").click()
    expect(administrator.get_by_role("heading", name="No longer shared with you")).to_be_visible()
    expect(notice).to_be_hidden()


def test_the_panel_is_of_use_by_keyboard(portal: Portal) -> None:
    """Opened, filled in, sent, withdrawn and closed without a mouse."""
    desk = portal.lab.desk()
    alice = portal.open(desk.token, "/")
    alice.get_by_role("button", name="Share").focus()
    alice.keyboard.press("Enter")
    expect(alice.locator("#sharing [name=user]")).to_be_focused()
    alice.keyboard.type("bob")
    alice.keyboard.press("Enter")
    expect(alice.locator("#sharing .guests")).to_contain_text("Bob")
    alice.locator("#sharing [data-withdraw]").focus()
    alice.keyboard.press("Enter")
    expect(alice.locator("#sharing")).to_contain_text("You share this desktop with nobody.")
    alice.keyboard.press("Escape")
    expect(alice.get_by_role("button", name="Share")).to_be_focused()
