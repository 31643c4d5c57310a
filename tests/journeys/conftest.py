"""One running demo for all journeys, and people who open its portal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.demo import Demo, running_demo


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, from its start to its end; at the end nothing of it may be left."""
    logs = tmp_path_factory.mktemp("demo") / "logs"  # what a failed test is explained by
    with running_demo("10.231.41.0/24", {"[pools.light-ral]": f"{BRIEF}[pools.light-ral]"}, logs=logs) as running:
        yield running


# An environment whose lease is over in seconds, and shorter times.
BRIEF = """
[environments.brief]
title = "Brief visit"
description = "A desktop for 20 seconds."
roles = ["light"]
lease_hours = 0.006
[pools.brief-dl]
environment = "brief"
size = "medium"
cloud = "dl"
target = 1
limit = 2
[times]
probe_every = 20
orphan_grace = 15
"""
SignIn = Callable[[str, str], Page]


@pytest.fixture
def sign_in(demo: Demo, chromium: Browser) -> Iterator[SignIn]:
    """Opens the portal as somebody, in a browser of their own."""
    contexts = []

    def open_as(name: str, password: str) -> Page:
        demo.wait_for_web()
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.goto(demo.url)
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", password)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Start a desktop").wait_for()
        return page

    yield open_as
    for context in contexts:
        context.close()


def download(page: Page, file: Path) -> None:
    """The SSH file of the desktop that the page shows, as its button gives it."""
    with page.expect_download() as coming:
        page.locator('[data-do="ssh"]').click()
    file.write_bytes(coming.value.path().read_bytes())


def number_of(page: Page) -> str:
    """The session whose desktop the page shows."""
    return page.url.rsplit("/", 1)[1]


def end(demo: Demo, page: Page, id_: str) -> int:
    """End a session as the page's user; the answer's status."""
    return page.request.delete(f"{demo.url}/api/v1/sessions/{id_}", headers={"X-Requested-With": "test"}).status


def launch(page: Page, title: str) -> Page:
    """From the portal to the connected desktop of this environment."""
    card = page.get_by_role("article").filter(has=page.get_by_role("heading", name=title, exact=True))
    card.get_by_role("button", name="Launch").first.click()
    page.wait_for_url("**/desktop/*", timeout=120000)
    expect(page.locator(".desk-state")).to_have_attribute("data-state", "connected", timeout=30000)
    return page


@pytest.fixture
def launched(demo: Demo, sign_in: SignIn) -> Iterator[Page]:
    """Alice at her light desktop; whatever she has is ended after the test, and where it could not be launched, too."""
    try:
        yield launch(sign_in("alice", "beamtime"), "Light desktop")
    finally:
        with demo.client("alice") as alice:
            for session in alice.get("/sessions").json():
                alice.delete(f"/sessions/{session['id']}")


def pixels(page: Page) -> bytes:
    """What the desktop shows."""
    return page.locator("#screen canvas").screenshot()
