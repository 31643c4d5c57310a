"""From the click to the desktop, in a demo of the benchmark's own; beside it the same desktop started by hand."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, Page, Request

from bench.rows import Row, percentile, write
from tests.browsers import chromium
from tests.demo import Demo, running_demo
from tests.ssh import session_file
from tests.waiting import until

SUBNET = "10.231.44.0/24"
LAUNCHES = 20
BY_HAND = 5
TARGETS = {"light": (1.0, 2.0), "science": (2.0, None)}  # seconds to `ready`: p50, p95
FIRST_PIXELS = 1.8  # seconds, p50
# Notes when a pixel differs from its neighbours for the first time.
EYES = """
if (location.pathname.startsWith("/desktop/")) {
  const look = () => {
    const canvas = document.querySelector("#screen canvas");
    if (canvas?.width) {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const pixels = new Uint32Array(data.buffer);
      if (pixels.some((pixel) => pixel !== pixels[0])) { window.firstPixels = Date.now(); return; }
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


def wait_until_warm(client: httpx2.Client, environment: str) -> None:
    """Wait for a vacant machine, and for the pools to be quiet: their own building is no part of these figures."""

    def warm() -> bool:
        states = [m["state"] for m in client.get("/admin/machines").raise_for_status().json()]
        cards = {card["name"]: card for card in client.get("/environments").json()}
        return bool(cards[environment]["availability"]["vacant"]) and set(states) <= {"vacant", "acquired"}

    until(warm, f"a vacant machine of {environment}", 180, every=0.5)
    time.sleep(1)


def launch(client: httpx2.Client, environment: str) -> tuple[int, float]:
    """One launch: the session, and the seconds from the POST to `ready`."""
    began = time.perf_counter()
    id_ = client.post("/sessions", json={"environment": environment}).raise_for_status().json()["id"]
    until(lambda: client.get(f"/sessions/{id_}").json()["state"] == "ready", "the desktop", 60, every=0.02)
    return id_, time.perf_counter() - began


def by_hand(client: httpx2.Client, id_: int, folder: Path) -> float:
    """Seconds to the same desktop, started by hand over SSH on the session's own machine."""
    file = session_file(folder, id_, lambda path, body: client.post(path, json=body).raise_for_status().json())
    ssh = ["ssh", "-F", str(file), "desktop", "python3", "-"]
    script = Path(__file__).with_name("floor.py").read_text()
    return float(subprocess.run(ssh, input=script, check=True, capture_output=True, text=True, timeout=60).stdout)


def to_ready(client: httpx2.Client, environment: str, folder: Path) -> list[Row]:
    """The rows of one environment."""
    took, floors = [], []
    for number in range(LAUNCHES):
        wait_until_warm(client, environment)
        id_, seconds = launch(client, environment)
        took.append(seconds)
        if number < BY_HAND:
            floors.append(by_hand(client, id_, folder))
        client.delete(f"/sessions/{id_}").raise_for_status()
    floor = percentile(floors, 0.5)
    rows = []
    for share, target in zip((0.5, 0.95), TARGETS[environment], strict=True):
        value = percentile(took, share)
        rows.append(
            Row(
                f"launch {environment}, POST to ready, p{share * 100:.0f}",
                *(value, "s", "started by hand", floor, value / floor, target),
                met=None if target is None else value <= target,
                note=f"{LAUNCHES} launches",
            )
        )
    return rows


def first_pixels(demo: Demo, client: httpx2.Client, browser: Browser) -> Row:
    """From the POST of a click in the portal to a picture in Chromium."""
    took = []
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.add_init_script(EYES)
    clicked: list[float] = []
    page.on("request", lambda request: _note(request, clicked))
    page.goto(demo.url)
    page.fill("input[name=name]", "admin")
    page.fill("input[name=password]", "beamtime-admin")
    page.keyboard.press("Enter")
    for _ in range(LAUNCHES):
        wait_until_warm(client, "light")
        took.append(_click(page, demo, clicked))
        client.delete(f"/sessions/{page.url.rsplit('/', 1)[1]}").raise_for_status()
    value = percentile(took, 0.5)
    p95 = percentile(took, 0.95)
    return Row(
        *("launch light, POST to first pixels in Chromium, p50", value, "s"),
        target=FIRST_PIXELS,
        met=value <= FIRST_PIXELS,
        note=f"{LAUNCHES} launches, p95 {p95:.2f} s",
    )


def _click(page: Page, demo: Demo, clicked: list[float]) -> float:
    page.goto(f"{demo.url}/")
    card = page.locator("article, .card, li").filter(has_text="Light desktop")
    card.get_by_role("button", name="Launch").first.click()
    page.wait_for_url("**/desktop/*", wait_until="commit", timeout=60_000)
    seen = until(lambda: page.evaluate("window.firstPixels"), "a picture", 60)
    return float(seen) / 1000 - clicked[-1]


def _note(request: Request, clicked: list[float]) -> None:
    if request.method == "POST" and request.url.endswith("/api/v1/sessions"):
        clicked.append(time.time())


def main() -> None:
    """Both environments, then the browser."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_demo(SUBNET) as demo,
        demo.client("admin") as client,
        chromium() as browser,
    ):
        for environment in TARGETS:
            write(to_ready(client, environment, Path(name)))
        write([first_pixels(demo, client, browser)])
