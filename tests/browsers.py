"""The system's Chromium: the whole browser, and the build of it that never had a window.

A page costs the latter a quarter of what it costs the former, which draws a window's frame for it. It shows no
notifications and plays no sound.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserType, Error, Page, sync_playwright

WHOLE = "chromium"
WINDOWLESS = "chromium-headless-shell"


@contextmanager
def browsers() -> Iterator[BrowserType]:
    """What starts them; a thread can have this once."""
    with sync_playwright() as playwright:
        Page.goto = _goto_again(Page.goto)  # type: ignore[method-assign]
        yield playwright.chromium


def _goto_again(goto: Callable[..., Any]) -> Callable[..., Any]:
    """Chromium gives a page up where a network comes or goes on its host, as machines of other tests do."""

    @functools.wraps(goto)
    def again(page: Page, *where: Any, **how: Any) -> Any:
        for _ in range(3):
            try:
                return goto(page, *where, **how)
            except Error as error:
                if "ERR_NETWORK_CHANGED" not in error.message:
                    raise
        return goto(page, *where, **how)

    return again


@contextmanager
def started(browsers: BrowserType, program: str) -> Iterator[Browser]:
    """Chromium that nobody sees; what it would ask of the network at every start is off."""
    off = ["gpu", "quic", "background-networking", "component-update", "sync"]
    options = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in off)]
    browser = browsers.launch(executable_path=shutil.which(program), args=options)
    yield browser
    browser.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The whole browser."""
    with browsers() as made, started(made, WHOLE) as browser:
        yield browser
