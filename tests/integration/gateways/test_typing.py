"""What is typed arrives: keys of a real keyboard with other layouts than the desktop's, in a real browser's window."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.integration.gateways.lab import Screen
from tests.integration.gateways.portal import PICTURES, Portal, connected
from tests.screens import screen as host_screen
from tests.waiting import until

ALTGR, SHIFT = "108", "50"
KEYBOARDS = {  # which keys are pressed, by their number (with + together), and what they write
    "de": (f"{ALTGR}+24 {ALTGR}+26 {ALTGR}+16 {ALTGR}+20 {ALTGR}+35 29 48 49 38 21 26 {SHIFT}+21 38", "@€{\\~zäâéà"),
    "fr": (f"{ALTGR}+19 {ALTGR}+26 {ALTGR}+13 {ALTGR}+17 {ALTGR}+11 24 11 {SHIFT}+11 34 26", "@€{\\~aé2ê"),
    "gb": (f"{SHIFT}+48 {ALTGR}+13 {SHIFT}+34 94 {SHIFT}+51 {SHIFT}+12 48", "@€{\\~£'"),
}
Typed = Callable[[], str]


@pytest.fixture
def typed(screen: Screen, tmp_path: Path) -> Iterator[Typed]:
    """What has arrived in a terminal of the desktop since the last call."""
    file, read = tmp_path / "typed", 0
    file.touch()

    def since() -> str:
        nonlocal read
        new = file.read_bytes()[read:]
        read += len(new)
        return new.decode()

    line = ("xterm", "-u8", "-geometry", "130x60+0+0", "-e", f"stty raw -echo; printf go > {file}; exec cat >> {file}")
    with screen.program(*line):
        until(lambda: since() == "go", "the terminal")
        yield since


def arrives(typed: Typed, press: Callable[[], object], wanted: str) -> None:
    """Press, and wait until that has arrived, and nothing else."""
    came = ""

    def all_came() -> bool:
        nonlocal came
        came += typed()
        return len(came) >= len(wanted)

    typed()
    press()
    until(all_came, f"{wanted!r} to arrive; {came!r} did", 10)
    assert came == wanted


class Window:
    """A desktop's page in a browser with a screen and a keyboard of its own."""

    def __init__(self, page: Page, display: str) -> None:
        self.page, self._environment = page, {**os.environ, "DISPLAY": display}

    def layout(self, name: str) -> None:
        """Plug in a keyboard of this country."""
        self._run("setxkbmap", name)

    def press(self, keys: str) -> None:
        """Press keys one after the other, those joined by + together."""
        for chord in keys.split():
            *held, last = chord.split("+")
            command = ["xdotool"]
            for key in held:
                command += ["keydown", key]
            command += ["key", last]
            for key in reversed(held):
                command += ["keyup", key]
            self._run(*command)

    def _run(self, *command: str) -> None:
        subprocess.run(command, env=self._environment, check=True, timeout=20)


@pytest.fixture
def window(desktops: Portal, chromium: Browser) -> Iterator[Window]:
    """Alice's desktop."""
    desk = desktops.lab.desk()
    with host_screen(1280, 800) as host:
        options = ["--no-sandbox", "--no-first-run", "--disable-gpu"]
        browser = chromium.browser_type.launch(
            executable_path=shutil.which("chromium"),
            headless=False,
            args=options,
            env={**os.environ, "DISPLAY": host.display},
        )
        context = browser.new_context(no_viewport=True)
        context.add_init_script("localStorage.setItem('desktop-fit', 'no')")
        context.add_cookies([{"name": "beamdesk", "value": desk.token, "url": desktops.address}])
        page = context.new_page()
        page.goto(f"{desktops.address}/desktop/{desk.session_id}")
        yield Window(connected(page), host.display)
        browser.close()


def test_layouts_altgr_and_dead_keys_write_what_is_on_the_key(window: Window, typed: Typed) -> None:
    """German, French and British keyboards on a desktop that knows of none; accents that a dead key begins."""
    window.page.locator("#screen canvas").click()
    for layout, (keys, wanted) in KEYBOARDS.items():
        window.layout(layout)
        arrives(typed, lambda keys=keys: window.press(keys), wanted)


def test_full_screen_gives_the_desktop_the_keys_that_close_tabs(window: Window, typed: Typed) -> None:
    """Ctrl+W and Ctrl+T reach the desktop, and the page stays."""
    window.page.locator('[data-do="full"]').click()
    until(lambda: window.page.evaluate("document.fullscreenElement !== null"), "full screen")
    arrives(typed, lambda: window.press("37+25 37+28"), "\x17\x14")
    assert len(window.page.context.pages) == 1


WINDOWS = "Object.defineProperty(navigator, 'platform', { get: () => 'Win32' })"
CONTROL, ALT = 2, 1  # of the protocol's modifiers


BUSY, AT_ONCE = 0.055, 0.09  # seconds; noVNC takes no two for one that are 0.05 apart, or heard of 0.1 apart


class Keyboard:
    """Events of keys, as the browser would get them from its keyboard."""

    def __init__(self, devtools: CDPSession) -> None:
        self._devtools = devtools

    def send(self, kind: str, name: str, code: str, modifiers: int = 0, **more: object) -> None:
        """One event."""
        values = {"type": kind, "key": name, "code": code, "modifiers": modifiers, **more}
        self._devtools.send("Input.dispatchKeyEvent", values)

    def at_sign(self) -> None:
        """As it is on a German keyboard, as Windows tells of it."""
        until(self._altgr, "this machine to press two keys at once")
        self.send("keyDown", "@", "KeyQ", CONTROL | ALT, text="@")
        self.send("keyUp", "@", "KeyQ", CONTROL | ALT)
        self._let_go()

    def _altgr(self) -> bool:
        """Both keys of one moment, of which the page hears as a busy one does; whether that was soon enough."""
        moment, began = time.time(), time.monotonic()
        self.send("rawKeyDown", "Control", "ControlLeft", CONTROL, timestamp=moment)
        time.sleep(BUSY)
        self.send("rawKeyDown", "AltGraph", "AltRight", CONTROL | ALT, timestamp=moment)
        if time.monotonic() - began < AT_ONCE:
            return True
        self._let_go()
        return False

    def _let_go(self) -> None:
        self.send("keyUp", "Control", "ControlLeft", ALT)
        self.send("keyUp", "AltGraph", "AltRight")


def test_altgr_of_windows_and_keys_of_the_panel(desktops: Portal, typed: Typed) -> None:
    """Windows tells of AltGr as of Ctrl and Alt. Keys that browsers keep are sent from the panel, by keyboard."""
    desk = desktops.lab.desk()
    page = desktops.open(desk.token, "/")
    page.context.add_init_script(WINDOWS)
    page.goto(f"{desktops.address}/desktop/{desk.session_id}")
    connected(page).locator("#screen canvas").click()
    arrives(typed, Keyboard(page.context.new_cdp_session(page)).at_sign, "@")
    page.keyboard.press("Control+Alt+Shift+A")
    page.locator('[data-do="keys"]').focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Ctrl+Alt+Del")).to_be_focused()
    page.screenshot(path=PICTURES / "keys.png")
    arrives(typed, lambda: page.get_by_role("button", name="Ctrl+W").press("Enter"), "\x17")
    expect(page.locator("#keys")).to_be_hidden()
    arrives(typed, lambda: page.keyboard.type("z"), "z")
    page.locator('[data-do="keys"]').click()
    page.get_by_role("button", name="Ctrl", exact=True).click()
    page.locator("#screen canvas").click()
    arrives(typed, lambda: page.keyboard.type("b"), "\x02")
    page.locator('[data-do="keys"]').click()
    page.get_by_role("button", name="Ctrl", exact=True).click()
    page.locator("#screen canvas").click()
    arrives(typed, lambda: page.keyboard.type("b"), "b")
