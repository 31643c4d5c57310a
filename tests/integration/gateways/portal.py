"""The portal beside a real gateway, and browsers of people who are signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select
from werkzeug.serving import make_server

from broker.identity.models import User
from broker.identity.service import Person, begin_sign_in
from broker.runtime import Runtime
from tests.conftest import FakeLauncher
from tests.integration.gateways.lab import Lab, environment
from tests.ports import free_port
from web.app import create_app

expect.set_options(timeout=20_000)  # of a machine with much else to do
PICTURES = Path("build/pictures")
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


class Portal:
    """The portal beside the gateway, and browsers of people who are signed in."""

    def __init__(self, lab: Lab, address: str, chromium: Browser) -> None:
        self.lab, self.address, self._chromium = lab, address, chromium
        self.complaints: list[str] = []
        self._contexts = []  # type: ignore[var-annotated]

    def open(self, token: str, path: str, *, size: dict[str, int] = LAPTOP, **options: Any) -> Page:
        """A page of who holds this sign-in."""
        context = self._chromium.new_context(viewport=size, **options)  # type: ignore[arg-type]
        self._contexts.append(context)
        context.add_init_script("localStorage.setItem('desktop-fit', 'no')")  # its size is the other tests', too
        context.add_cookies([{"name": "beamdesk", "value": token, "url": self.address}])
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if "Content Security" in line.text else None)
        page.goto(self.address + path)
        return page

    def sign_in(self, name: str) -> tuple[str, Person]:
        """A fresh sign-in."""
        with self.lab.runtime.database.reading() as db:
            user = db.scalars(select(User).where(User.name == name)).one()
        return begin_sign_in(self.lab.runtime, user)

    def close(self) -> None:
        """Close all browsers."""
        while self._contexts:
            self._contexts.pop().close()


@contextmanager
def served(runtime: Runtime, port: int) -> Iterator[None]:
    server = make_server("127.0.0.1", port, create_app(runtime, FakeLauncher()), threaded=True)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield
    server.shutdown()
    thread.join()


@contextmanager
def portal_of(make_lab: Callable[[], Lab], chromium: Browser) -> Iterator[Portal]:
    """A portal and its gateway; whatever a browser complains of fails the test."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with environment(BEAMDESK_WEB__PUBLIC_URL=address, BEAMDESK_GATEWAY__PUBLIC_URL="ws://127.0.0.1:1"):
        lab = make_lab()
    gateway = lab.runtime.settings.gateway.model_copy(update={"public_url": f"ws://{lab.gateway.address}"})
    runtime = Runtime(lab.runtime.settings.model_copy(update={"gateway": gateway}), lab.runtime.database)
    with served(runtime, port), closing(Portal(lab, address, chromium)) as made:
        yield made
    assert made.complaints == []


def connected(page: Page) -> Page:
    """Wait until the page shows the desktop."""
    expect(page.locator(".desk-state")).to_have_attribute("data-state", "connected")
    return page
