"""Parts of a running demo are killed with -9: under an open desktop, and at every moment of a launch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.demo import Demo
from tests.journeys.conftest import number_of, pixels
from tests.waiting import until

SOON = 60  # seconds; the system promises 30, and test machines are slow
PARTS = ("redis", "web", "gateway", "worker", "manager")


@pytest.fixture
def alice(demo: Demo) -> Iterator[httpx2.Client]:
    """Alice's own program, with no session left after the test."""
    demo.wait_for_web()
    with demo.client("alice") as client:
        yield client
        for session in live(client):
            client.delete(f"/sessions/{session['id']}")


@pytest.fixture
def admin(demo: Demo) -> Iterator[httpx2.Client]:
    """The operator's program."""
    demo.wait_for_web()
    with demo.client("admin") as client:
        yield client


def asked(client: httpx2.Client, address: str) -> Any:
    """What is answered, through whatever is down for a moment: a connection may be one to a process that was killed."""

    def look() -> httpx2.Response | None:
        with suppress(httpx2.TransportError):
            return client.get(address)
        return None

    return until(look, f"{address} to be answered", SOON).raise_for_status().json()


def live(client: httpx2.Client) -> list[dict[str, Any]]:
    """The sessions of this person that are not over."""
    sessions = asked(client, "/sessions")
    return [session for session in sessions if session["state"] not in ("ending", "ended", "failed")]


def launch(client: httpx2.Client, environment: str = "light") -> int:
    """The number of the session that this click makes."""
    return int(client.post("/sessions", json={"environment": environment}).raise_for_status().json()["id"])


def wait_for(client: httpx2.Client, id_: int, state: str, timeout: float = SOON) -> dict[str, Any]:
    """Wait until the session is in this state, through whatever is down for a moment."""

    def look() -> dict[str, Any]:
        with suppress(httpx2.TransportError):
            session: dict[str, Any] = client.get(f"/sessions/{id_}").json()
            assert session["state"] != "failed", session
            return session if session["state"] == state else {}
        return {}

    return until(look, f"session {id_} to be {state}", timeout)


def holders(admin: httpx2.Client, id_: int) -> list[int]:
    """The machines that this session holds."""
    return [machine["id"] for machine in asked(admin, "/admin/machines") if machine["session"] == id_]


def goes_on(page: Page) -> None:
    """The desktop answers to the keyboard, over the connection that it has."""
    expect(page.locator(".desk-state")).to_have_attribute("data-state", "connected", timeout=SOON * 1000)
    before = pixels(page)
    page.locator("#screen canvas").click()
    page.keyboard.type("date +%N\n", delay=5)
    until(lambda: pixels(page) != before, "the desktop to answer", 20)


def connections(page: Page) -> int:
    """How often the page has connected."""
    return int(page.evaluate("performance.getEntriesByType('mark').filter(m => m.name === 'connected').length"))


def test_an_open_desktop_survives_the_death_of_any_part(demo: Demo, launched: Page) -> None:
    """One part's main process after the other is killed; the desktop goes on over the same connection; all is whole
    again soon, and sessions end and begin."""
    for part in PARTS:
        old = demo.kill(part)
        goes_on(launched)
        assert connections(launched) == 1, part
        demo.wait_for_new(part, old)
        demo.wait_for_web()
    with demo.client("alice") as alice:
        alice.delete(f"/sessions/{number_of(launched)}").raise_for_status()
        wait_for(alice, int(number_of(launched)), "ended")
        wait_for(alice, launch(alice), "ready")
        alice.delete(f"/sessions/{live(alice)[0]['id']}").raise_for_status()


def test_a_desktop_whose_connection_is_lost_connects_again(demo: Demo, launched: Page) -> None:
    """Everything that carries it is killed; the page gets a fresh ticket by itself and goes on."""
    demo.kill("gateway", all_=True)
    expect(launched.locator(".desk-state")).not_to_have_attribute("data-state", "connected", timeout=20000)
    goes_on(launched)
    assert connections(launched) > 1


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.4])
def test_a_launch_whose_web_is_killed_goes_on_or_never_was(
    seconds: float, demo: Demo, alice: httpx2.Client, admin: httpx2.Client
) -> None:
    """So long after the click the web process dies: one session with one machine comes of it, or none, and no error."""

    def click() -> None:
        with suppress(httpx2.TransportError):
            launch(alice)

    clicking = threading.Thread(target=click)
    clicking.start()
    time.sleep(seconds)
    demo.kill("web", all_=True)
    clicking.join()
    demo.wait_for_web()
    if not live(alice):
        launch(alice)
    [session] = live(alice)
    wait_for(alice, session["id"], "ready")
    assert len(holders(admin, session["id"])) == 1


@pytest.mark.parametrize("part", ["redis", "worker", "manager"])
def test_a_launch_needs_no(part: str, demo: Demo, alice: httpx2.Client) -> None:
    """A part that is killed at the moment of the click stops neither the launch nor, later, its end."""
    old = demo.kill(part, all_=True)
    id_ = launch(alice)
    wait_for(alice, id_, "ready")
    alice.delete(f"/sessions/{id_}").raise_for_status()
    demo.wait_for_new(part, old)
    wait_for(alice, id_, "ended")


def test_who_waits_gets_a_machine_in_spite_of_any_death(demo: Demo, alice: httpx2.Client) -> None:
    """Nobody keeps a machine of this kind: one is built for who waits, by parts that are killed meanwhile."""
    id_ = launch(alice, "instrument")
    wait_for(alice, id_, "queued")
    for part in ("redis", "worker", "manager"):
        old = demo.kill(part, all_=True)
        demo.wait_for_new(part, old)
    wait_for(alice, id_, "ready", 3 * SOON)  # a whole machine is built


def test_a_machine_whose_worker_died_becomes_vacant_or_is_replaced(demo: Demo, admin: httpx2.Client) -> None:
    """The worker is killed in the middle of a play; the pool reaches its target all the same."""

    def states() -> list[str]:
        return [m["state"] for m in admin.get("/admin/machines").json() if m["pool"] == "light-dl"]

    until(lambda: states() == ["vacant"], "the pool at its target", SOON)
    [machine] = [m["id"] for m in admin.get("/admin/machines").json() if m["pool"] == "light-dl"]
    admin.post(f"/admin/machines/{machine}/retire").raise_for_status()
    until(lambda: "configuring" in states(), "a play", SOON, every=0.02)
    demo.kill("worker", all_=True)
    until(lambda: states() == ["vacant"], "the pool at its target again", 2 * SOON)


def test_signing_out_closes_the_desktop(demo: Demo, launched: Page) -> None:
    """Sockets that were opened through a sign-in end with it."""
    headers = {"X-Requested-With": "test"}
    assert launched.request.post(f"{demo.url}/api/v1/sign-out", headers=headers).status == 204
    launched.wait_for_url("**/sign-in**", timeout=20000, wait_until="commit")
