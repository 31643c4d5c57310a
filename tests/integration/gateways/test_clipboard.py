"""The clipboard of the browser's desktop in the real Chromium, through a real gateway, on a real desktop."""

from __future__ import annotations

import subprocess

from playwright.sync_api import Page, expect

from tests.integration.gateways.lab import Screen
from tests.integration.gateways.portal import PHONE, PICTURES, Portal, connected
from tests.waiting import until

WORDS = "5 µeV, 3 €, é\nÅ and 日本\n"
PASSAGE = "".join(f"{line} 5 µeV for 3 €\n" for line in range(50_000))[:900_000]  # of 1 MB in UTF-8
READ, WRITE = "navigator.clipboard.readText()", "text => navigator.clipboard.writeText(text)"
COME_BACK = "window.dispatchEvent(new Event('focus'))"


def copy(screen: Screen, text: str) -> None:
    """Let a program of the desktop own this as its clipboard."""
    line = ["xclip", "-i", "-selection", "clipboard"]
    subprocess.run(line, env=screen.environment, input=text.encode(), stdout=subprocess.DEVNULL, check=True, timeout=20)


def has(screen: Screen, text: str) -> None:
    """Wait until the desktop's programs can paste this."""
    until(lambda: screen.run("xclip", "-o", "-selection", "clipboard") == text, f"the desktop to have {text[:20]!r}")


def open_desktop(portal: Portal, *permissions: str, size: dict[str, int] | None = None) -> Page:
    """Alice's page, of a fresh session; without a permission the browser would ask, which nobody answers."""
    desk = portal.lab.desk()
    page = portal.open(desk.token, "/", **({"size": size} if size else {}))
    page.context.grant_permissions([f"clipboard-{name}" for name in permissions])
    page.goto(f"{portal.address}/desktop/{desk.session_id}")
    return connected(page)


def test_one_clipboard_without_a_click_where_the_page_may(desktops: Portal, screen: Screen) -> None:
    """Letters of all scripts, several lines, and 1 MB; what the desktop copied itself does not come back as ours."""
    page = open_desktop(desktops, "read", "write")
    for text in (WORDS, PASSAGE):
        page.evaluate(WRITE, text)
        page.evaluate(COME_BACK)
        has(screen, text)
        copy(screen, f"{text} there")
        until(lambda text=text: page.evaluate(READ) == f"{text} there", "the browser to have the desktop's")
    owner = screen.run("xclip", "-o", "-selection", "clipboard", "-t", "TARGETS")
    page.evaluate(COME_BACK)
    page.locator('[data-do="clipboard"]').click()
    expect(page.locator("#clip-text")).to_have_value(f"{PASSAGE} there")
    assert screen.run("xclip", "-o", "-selection", "clipboard", "-t", "TARGETS") == owner
    page.evaluate(WRITE, "x" * 4_000_001)
    page.evaluate(COME_BACK)
    expect(page.locator("#toasts")).to_contain_text("too much for the desktop's clipboard")
    has(screen, f"{PASSAGE} there")


def test_keys_that_paste_bring_the_clipboard_without_permission(desktops: Portal, screen: Screen) -> None:
    """Before the desktop sees the key; but not over what the desktop copied since, which the browser may not have."""
    page = open_desktop(desktops)
    other = desktops.open(desktops.lab.desk().token, "/")
    other.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with screen.program("stdbuf", "-oL", "xev", "-geometry", "800x600+0+0", "-event", "keyboard") as printed:
        page.locator("#screen canvas").click()
        for number, keys in enumerate(("Control+v", "Control+Shift+V", "Shift+Insert"), 1):
            other.evaluate(WRITE, f"{keys} {WORDS}")
            page.locator("#screen canvas").click()
            page.keyboard.press(keys)
            has(screen, f"{keys} {WORDS}")
            until(
                lambda number=number: sum(printed().count(name) for name in (", v)", ", V)", "Insert)")) >= 2 * number,
                "the key",
            )
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
        copy(screen, "newer")
        expect(page.locator('[data-do="clipboard"]')).to_have_class("desk-button desk-news")
        page.keyboard.press("Control+v")
        until(lambda: printed().count(", v)") >= 4, "the key")
    has(screen, "newer")


def test_a_panel_serves_where_the_browser_does_neither(desktops: Portal, screen: Screen) -> None:
    """On a phone, by keyboard alone, in a browser that knows no asynchronous clipboard."""
    desk = desktops.lab.desk()
    page = desktops.open(desk.token, "/", size=PHONE)
    page.add_init_script("delete Navigator.prototype.clipboard")
    page.goto(f"{desktops.address}/desktop/{desk.session_id}")
    connected(page)
    page.keyboard.press("Control+Alt+Shift+A")
    expect(page.locator(".desk-brand")).to_be_focused()
    page.locator('[data-do="clipboard"]').focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("The desktop's clipboard")).to_be_focused()
    page.keyboard.insert_text(WORDS)
    has(screen, WORDS)
    copy(screen, "from there")
    expect(page.locator("#clip-text")).to_have_value("from there")
    page.screenshot(path=PICTURES / "clipboard-phone.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("Copied.")
    page.keyboard.press("Escape")
    expect(page.locator('[data-do="clipboard"]')).to_be_focused()
    expect(page.locator("#clipboard")).to_be_hidden()
