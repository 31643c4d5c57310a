"""A user's whole way: sign in, launch, work on a real desktop, by browser and by file, until it ends."""

from __future__ import annotations

import http.client
import subprocess
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.demo import Demo
from tests.journeys.conftest import SignIn, download, end, number_of, pixels
from tests.waiting import until


def upgrade(demo: Demo, path: str, headers: dict[str, str]) -> int:
    """The status of a WebSocket's opening request at the gateway."""
    host, port = demo.gateway.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    keys = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    connection.request("GET", path, headers={**keys, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", **headers})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_desktop_from_click_to_end(demo: Demo, launched: Page, sign_in: SignIn, tmp_path: Path) -> None:
    """Typing changes its pixels; others may not touch it; its SSH file works; an administrator ends it."""
    id_ = number_of(launched)
    before = pixels(launched)
    launched.locator("#screen canvas").click()
    launched.keyboard.type("echo hello from the browser > ~/typed\n", delay=5)
    until(lambda: pixels(launched) != before, "the terminal to show what was typed", 10)

    bob = sign_in("bob", "beamtime")
    assert bob.request.get(f"{demo.url}/api/v1/sessions/{id_}").status == 404
    assert end(demo, bob, id_) == 404

    file = tmp_path / "a file.conf"
    download(launched, file)
    line = ["ssh", "-F", str(file), "desktop"]
    answer = subprocess.run([*line, "whoami; cat typed"], capture_output=True, text=True, timeout=30)
    assert answer.stdout == "alice\nhello from the browser\n", answer.stderr
    staying = subprocess.Popen([*line, "sleep 300"])

    admin = sign_in("admin", "beamtime-admin")
    assert end(demo, admin, id_) == 200
    expect(launched.get_by_role("heading", name="This session has ended")).to_be_visible(timeout=15000)
    until(lambda: staying.poll() is not None, "the open ssh to end", 10)


def test_a_desktop_is_handed_over_with_what_runs_in_it(
    demo: Demo, launched: Page, sign_in: SignIn, tmp_path: Path
) -> None:
    """A calculation goes on; the new owner comes in by browser and by SSH, the giver no more."""
    id_ = number_of(launched)
    before, after = tmp_path / "alice.conf", tmp_path / "grace.conf"
    download(launched, before)
    begin = "echo counts > notes; setsid sleep 1000 > /dev/null 2>&1 < /dev/null & echo begun"
    assert _by_ssh(before, begin) == "begun\n"
    with demo.client("alice") as alice, demo.client("grace") as grace:
        offer = alice.post(f"/sessions/{id_}/handovers", json={"user": "grace"}).raise_for_status().json()["id"]
        grace.post(f"/handovers/{offer}", json={"answer": "accepted"}).raise_for_status()
    expect(launched.locator("[data-cover]")).to_contain_text("You have handed session", timeout=15000)
    page = sign_in("grace", "beamtime")
    page.get_by_role("link", name="Open desktop").click()
    expect(page.locator(".desk-state")).to_have_attribute("data-state", "connected", timeout=30000)
    download(page, after)
    assert _by_ssh(after, "whoami; cat notes; pgrep -fx 'sleep 1000' > /dev/null && echo goes on") == (
        "alice\ncounts\ngoes on\n"
    )
    assert _by_ssh(before, "true") is None
    assert end(demo, page, id_) == 200


def _by_ssh(file: Path, command: str) -> str | None:
    """What the command prints in the desktop of this file; None where nobody is let in."""
    line = ["ssh", "-F", str(file), "desktop", command]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    return None if "Permission denied" in done.stderr else done.stdout


def test_a_ticket_opens_once_and_only_from_our_page(demo: Demo, launched: Page) -> None:
    """Another site's page, a used ticket and a ticket without its sign-in are refused."""
    id_ = number_of(launched)
    headers = {"X-Requested-With": "test"}
    fresh = f"{demo.url}/api/v1/sessions/{id_}/tickets"
    path = "/desktop?token=" + launched.request.post(fresh, headers=headers).json()["ticket"]
    cookie = "; ".join(f"{c['name']}={c['value']}" for c in launched.context.cookies())
    assert upgrade(demo, path, {"Origin": "https://evil.example", "Cookie": cookie}) == 403
    assert upgrade(demo, path, {"Origin": demo.url, "Cookie": cookie}) == 101
    assert upgrade(demo, path, {"Origin": demo.url, "Cookie": cookie}) == 401
    other = "/desktop?token=" + launched.request.post(fresh, headers=headers).json()["ticket"]
    assert upgrade(demo, other, {"Origin": demo.url}) == 401
