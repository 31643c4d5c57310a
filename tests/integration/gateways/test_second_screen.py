"""A second window of the real Chromium is a second monitor of a real desktop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from playwright.sync_api import Error, Page, ViewportSize, expect

from tests.integration.gateways.guests import Guest
from tests.integration.gateways.lab import Screen
from tests.integration.gateways.portal import PICTURES, Portal, connected
from tests.integration.gateways.test_shared_page import RED, colour
from tests.waiting import until

BAR = 46  # pixels above the desktop
LEFT, RIGHT = {"width": 800, "height": 600 + BAR}, {"width": 640, "height": 480 + BAR}
ONE, TWO = {"800x600+0+0"}, {"800x600+0+0", "640x480+800+0"}
BUTTON = '[data-do="second"]'
WIDTH = "document.querySelector('#screen canvas').width"


def monitors(screen: Screen) -> set[str]:
    """What the desktop's programs take for monitors, as X writes geometries."""
    listed = re.findall(r"(\d+)/\d+x(\d+)/\d+(\+\d+\+\d+)", screen.run("xrandr", "--listmonitors"))
    return {f"{width}x{height}{place}" for width, height, place in listed}


def has(screen: Screen, wanted: set[str]) -> None:
    """Wait for these monitors."""
    until(lambda: monitors(screen) == wanted, f"{wanted}; there are {monitors(screen)}")


def follows(page: Page, screen: Screen, size: ViewportSize, wanted: set[str]) -> None:
    """Give the window this size, and wait for the desktop's. On a busy machine noVNC may take a window's new size for
    the one that it expects itself: then the window is moved again."""
    page.set_viewport_size(size)

    def done() -> bool:
        if monitors(screen) == wanted:
            return True
        page.set_viewport_size({"width": size["width"] + 2, "height": size["height"]})
        page.set_viewport_size(size)
        return False

    until(done, f"{wanted}", every=1)


@pytest.fixture
def first(desktops: Portal) -> Page:
    """Alice's desktop in a window that is as large as the desktop is."""
    desk = desktops.lab.desk()
    return connected(desktops.open(desk.token, f"/desktop/{desk.session_id}", size=LEFT))


def open_second(first: Page) -> Page:
    """Press the button."""
    with first.expect_popup() as opened:
        first.locator(BUTTON).press("Enter")
    opened.value.set_viewport_size(RIGHT)
    return connected(opened.value)


@pytest.fixture
def second(first: Page, screen: Screen) -> Iterator[Page]:
    """Its second screen; afterwards there is one."""
    made = open_second(first)
    has(screen, TWO)
    yield made
    made.close()
    has(screen, ONE)


def test_a_second_window_is_a_monitor_of_its_own(first: Page, second: Page, screen: Screen) -> None:
    """Each shows its part, and points into it; a guest sees all, and can open none."""
    with screen.program("xterm", "-bg", "#aa2222", "-geometry", "110x40+810+5"):
        until(lambda: colour(second) == RED, "the second screen's middle")
        assert colour(first) != RED
        second.locator("#screen canvas").click()
        assert screen.run("xdotool", "getmouselocation").startswith("x:1120 y:240 ")
        first.locator("#screen canvas").click()
        assert screen.run("xdotool", "getmouselocation").startswith("x:400 y:300 ")
        first.screenshot(path=PICTURES / "second-screen-first.png")
        second.screenshot(path=PICTURES / "second-screen.png")
    assert (first.evaluate(WIDTH), second.evaluate(WIDTH)) == (800, 640)


def test_a_guest_sees_both_screens_and_opens_none(desktops: Portal, screen: Screen) -> None:
    """All that there is, in one window."""
    desk = desktops.lab.desk()
    guest = Guest(desk, "bob", control=False)
    second = open_second(connected(desktops.open(desk.token, f"/desktop/{desk.session_id}", size=LEFT)))
    has(screen, TWO)
    page = connected(desktops.open(guest.token, f"/shared/{guest.share_id}"))
    assert page.evaluate(WIDTH) == 1440
    expect(page.locator(BUTTON)).to_have_count(0)
    second.close()
    has(screen, ONE)


def test_it_comes_and_goes(first: Page, second: Page, screen: Screen) -> None:
    """Reloading either keeps both; one more waits for its turn; a killed tab gives the space back."""
    for page in (second, first):
        connected(page).reload()
        connected(page)
        has(screen, TWO)
    first.locator(BUTTON).click()
    other = first.context.new_page()
    other.set_viewport_size(LEFT)
    other.goto(second.url)
    expect(other.get_by_role("heading", name="The second screen is open")).to_be_visible()
    assert len(first.context.pages) == 3
    second.close()
    connected(other)
    has(screen, {"800x600+0+0", "800x600+800+0"})
    with suppress(Error):
        other.goto("chrome://crash", timeout=3000)
    has(screen, ONE)
    first.evaluate("window.open = () => null")
    first.locator(BUTTON).click()
    expect(first.locator("#toasts")).to_contain_text("The browser has blocked the second window.")
    first.locator('[data-do="fit"]').click()
    follows(first, screen, {"width": 900, "height": 500 + BAR}, {"900x500+0+0"})
    follows(first, screen, LEFT, ONE)
