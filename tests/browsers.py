"""The system's Chromium: the whole browser, and the build of it that never had a window.

A page costs the latter a quarter of what it costs the former, which draws a window's frame for it. It shows no
notifications and plays no sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserType, sync_playwright

WHOLE = "chromium"
WINDOWLESS = "chromium-headless-shell"


UNAWARE = Path(__file__).with_name("unaware.py")


@contextmanager
def browsers() -> Iterator[BrowserType]:
    """What starts them; a thread can have this once."""
    with sync_playwright() as playwright:
        yield playwright.chromium


@contextmanager
def started(browsers: BrowserType, program: str) -> Iterator[Browser]:
    """Chromium that nobody sees; what it would ask of the network at every start is off.

    It does not see its host's addresses either: where one comes or goes, as with each cloud of another test, it would
    give up every page that it is just connecting for.
    """
    off = ["gpu", "quic", "background-networking", "component-update", "sync"]
    options = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in off)]
    browser = browsers.launch(executable_path=UNAWARE, args=options, env=os.environ | {"PROGRAM": program})
    yield browser
    browser.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The whole browser."""
    with browsers() as made, started(made, WHOLE) as browser:
        yield browser
