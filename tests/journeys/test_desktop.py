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
