"""The whole application on a real database and a real Redis; only the preparing of desktops is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, expect

from broker.database import now
from broker.identity.service import Person
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import SessionState, UserSession, mark, move
from tests.conftest import FakeLauncher, NewPerson
from tests.integration.web.served import serve
from web.app import create_app

expect.set_options(timeout=20_000)  # of a machine with much else to do


@pytest.fixture
def launcher() -> FakeLauncher:
    return FakeLauncher()


@pytest.fixture
def app(runtime: Runtime, launcher: FakeLauncher) -> APIFlask:
    """The application as gunicorn would serve it."""
    return create_app(runtime, launcher)


AppWith = Callable[..., APIFlask]


@pytest.fixture
def app_with(runtime: Runtime, launcher: FakeLauncher) -> AppWith:
    """The application with other settings: `app_with(web=WebSettings(live_sockets=1))`."""

    def make(**settings: object) -> APIFlask:
        return create_app(Runtime(runtime.settings.model_copy(update=settings), runtime.database), launcher)

    return make


SignedIn = Callable[..., FlaskClient]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def signed_in(app: APIFlask, new_person: NewPerson) -> SignedIn:
    """A browser in which this person is signed in: `signed_in("bob", admin=True)`."""

    def browser(name: str, *, admin: bool = False, groups: tuple[str, ...] = ()) -> FlaskClient:
        new_person(name, admin=admin, groups=groups)
        client = app.test_client()
        answer = client.post("/api/v1/sign-in", json={"name": name, "password": f"{name}-secret"})
        assert answer.status_code == 200, answer.text
        return client

    return browser


@pytest.fixture
def alice(signed_in: SignedIn) -> FlaskClient:
    return signed_in("alice")


@pytest.fixture
def admin(signed_in: SignedIn) -> FlaskClient:
    return signed_in("ada", admin=True)


NewMachines = Callable[..., list[int]]


@pytest.fixture
def new_machines(runtime: Runtime) -> NewMachines:
    """Rows of machines: `new_machines("light-ral", 3)` makes three vacant ones."""

    def make(pool: str, number: int = 1, state: MachineState = MachineState.VACANT) -> list[int]:
        settings = runtime.settings.pools[pool]
        with runtime.database.transaction() as db:
            machines = [
                Machine(
                    pool=pool,
                    environment=settings.environment,
                    size=settings.size,
                    cloud=settings.cloud,
                    state=state,
                    address="10.0.0.1",
                    host_key="ssh-ed25519 AAAA",
                )
                for _ in range(number)
            ]
            db.add_all(machines)
            db.flush()
            return [machine.id for machine in machines]

    return make


@pytest.fixture
def make_ready(runtime: Runtime) -> Callable[[int], None]:
    """Does what the launcher does once the desktop is painted."""

    def ready(session_id: int) -> None:
        with runtime.database.transaction() as db:
            session = db.get_one(UserSession, session_id)
            mark(db, session, "attached")
            ends = now() + timedelta(hours=48)
            move(db, session, SessionState.READY, reason="painted", ready_at=now(), expires_at=ends)
            db.refresh(session)
            mark(db, session, "ready")

    return ready


@pytest.fixture
def ready_session(
    runtime: Runtime, person: Person, new_machines: NewMachines, make_ready: Callable[[int], None]
) -> int:
    """A ready session of Alice's; its id."""
    new_machines("light-ral")
    session = service.request(runtime, person, service.Wish(environment="light"))
    make_ready(session.id)
    return session.id


@pytest.fixture
def site(app: APIFlask) -> Iterator[str]:
    """The application on a port; its address."""
    with serve(app) as address:
        yield f"http://{address}"


OpenAs = Callable[..., Page]


@pytest.fixture
def their_browser(windowless_chromium: Browser) -> Browser:
    """In which pages are opened."""
    return windowless_chromium


@pytest.fixture
def open_as(their_browser: Browser, site: str, new_person: NewPerson) -> Iterator[OpenAs]:
    """Opens a page of somebody who signs in first; whatever the browser complains of fails the test."""
    contexts, complaints = [], []

    def page(
        name: str,
        path: str = "/",
        *,
        admin: bool = False,
        groups: tuple[str, ...] = (),
        width: int = 1280,
        at: str = site,
        **options: object,
    ) -> Page:
        new_person(name, admin=admin, groups=groups)
        context = their_browser.new_context(viewport={"width": width, "height": 900}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        shown = context.new_page()
        shown.set_default_timeout(30_000)
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        shown.goto(f"{at}/sign-in?next={path}")
        shown.fill("#name", name)
        shown.fill("#password", f"{name}-secret")
        shown.keyboard.press("Enter")
        shown.wait_for_url(f"{at}{path}")
        return shown

    yield page
    for context in contexts:
        context.close()
    assert complaints == []
