"""What the policy does not allow, the pages do not offer, and say so; what it allows works as ever."""

from __future__ import annotations

from playwright.sync_api import expect
from sqlalchemy import update

from broker.identity.models import User
from tests.integration.gateways.lab import Screen
from tests.integration.gateways.portal import PHONE, PICTURES, Portal, connected
from tests.integration.gateways.test_shared_page import WIDTH
from tests.waiting import until

COPYING, PASTING = (f"{what} this desktop is not allowed here." for what in ("Copying out of", "Pasting into"))


def only_in(portal: Portal, *groups: str) -> None:
    """Alice is in these groups."""
    with portal.lab.runtime.database.transaction() as db:
        db.execute(update(User).where(User.name == "alice").values(groups=list(groups)))


def test_the_page_offers_the_direction_that_is_allowed_and_says_what_is_not(
    portal: Portal,
    screen: Screen,
) -> None:
    """On the card, among the ways in, and beside the clipboard; what is typed there is pasted, copies stay inside.
    Where one may only copy out, nothing can be typed; where neither may be, the panel has words only."""
    only_in(portal, "nothing-out")
    desk = portal.lab.desk()
    home = portal.open(desk.token, "/", size=PHONE)
    expect(home.locator(f"#session-{desk.session_id}")).to_contain_text(COPYING)
    expect(home.locator(f"#session-{desk.session_id}")).not_to_contain_text(PASTING)
    home.screenshot(path=PICTURES / "policy-home-phone.png")
    home.get_by_role("button", name="Connect").click()
    dialog = home.get_by_role("dialog", name="Connect to Light desktop")
    expect(dialog).to_contain_text(COPYING)
    expect(dialog.get_by_text("The clipboard works both ways.")).to_be_hidden()
    expect(dialog).to_contain_text("It has no clipboard here.")
    expect(dialog.get_by_text("SSH and VNC viewers carry files and copies both ways")).to_be_visible()
    for heading in ("SSH file", "VNC viewer"):
        expect(dialog.get_by_role("heading", name=heading)).to_be_hidden()
    home.screenshot(path=PICTURES / "policy-connect-phone.png")
    assert home.evaluate(WIDTH) <= 390
    page = connected(portal.open(desk.token, f"/desktop/{desk.session_id}"))
    expect(page.get_by_role("button", name="SSH")).to_be_hidden()
    expect(page.get_by_role("button", name="Sound")).to_be_hidden()
    page.get_by_role("button", name="Clipboard").focus()
    page.keyboard.press("Enter")
    panel = page.locator("#clipboard")
    expect(panel).to_contain_text(COPYING)
    page.keyboard.type("pasted by hand")
    page.screenshot(path=PICTURES / "policy-desktop.png")
    until(lambda: screen.run("xclip", "-o", "-selection", "clipboard") == "pasted by hand", "what was typed")
    with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says="copied inside"):
        until(lambda: screen.run("xclip", "-o", "-selection", "clipboard") == "copied inside", "the copy")
        expect(panel.locator("textarea")).to_have_value("pasted by hand")
    only_in(portal, "nothing-in")
    page.set_viewport_size(PHONE)
    page.reload()
    page.get_by_role("button", name="Clipboard").click()
    expect(page.get_by_label("The desktop's clipboard.")).to_have_attribute("readonly", "")
    only_in(portal, "nothing-in", "nothing-out")
    page.reload()
    page.get_by_role("button", name="Clipboard").click()
    expect(panel).to_contain_text(COPYING)
    expect(panel).to_contain_text(PASTING)
    expect(panel.locator("textarea")).to_be_hidden()
    page.screenshot(path=PICTURES / "policy-desktop-phone.png")
    assert page.evaluate(WIDTH) <= 390
