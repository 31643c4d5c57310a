"""The desktop's page: what one does with it, and the other ways to the same desktop."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.demo import Demo
from tests.journeys.conftest import SignIn, download, end, launch, number_of, pixels
from tests.screens import Screen, colours, difference, screen
from tests.waiting import until

Run = Callable[[Page, str], str]
PICTURES = Path(__file__).parents[2] / "build/pictures"


@pytest.fixture
def run(demo: Demo, tmp_path: Path) -> Run:
    """Runs a command on the page's desktop by its SSH file, as a program of the session; what it prints."""

    def on_desktop(page: Page, command: str) -> str:
        file = tmp_path / f"{number_of(page)}.conf"
        if not file.exists():
            download(page, file)
        display = "export DISPLAY=:1 XAUTHORITY=/run/beamdesk/session/xauthority"
        line = ["ssh", "-F", str(file), "desktop", f"{display}; {command}"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.returncode != 255, done.stderr  # ssh itself failed
        return done.stdout

    return on_desktop


@pytest.fixture(scope="module")
def lasting(demo: Demo) -> Iterator[int]:
    """Grace's session, in which one test after the other does what leaves it as it was."""
    with demo.client("grace") as grace:
        id_ = grace.post("/sessions", json={"environment": "light"}).raise_for_status().json()["id"]
        try:
            until(lambda: grace.get(f"/sessions/{id_}").json()["state"] == "ready", "a desktop", 120)
            yield id_
        finally:
            grace.delete(f"/sessions/{id_}")


@pytest.fixture
def opened(demo: Demo, lasting: int, sign_in: SignIn) -> Page:
    """Its desktop, in a browser of the test's own."""
    page = sign_in("grace", "beamtime")
    page.goto(f"{demo.url}/desktop/{lasting}")
    expect(page.locator(".desk-state")).to_have_attribute("data-state", "connected", timeout=30000)
    return page


def size(page: Page) -> tuple[int, int]:
    """The desktop's width and height, as the page got it."""
    width, height = page.evaluate("[document.querySelector('#screen canvas')].flatMap(c => [c.width, c.height])")
    return int(width), int(height)


@contextmanager
def remote_desktop(file: Path) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    """A real RDP client that has opened the file by a double-click, and the screen that it fills."""
    with screen(1600, 900) as host, file.with_suffix(".log").open("w") as log:
        line = ["xfreerdp", str(file), "/cert:ignore", "/f", "-decorations"]
        own = {"DISPLAY": host.display, "HOME": str(file.parent), "PATH": os.environ["PATH"]}
        client = subprocess.Popen(line, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield client, host
        finally:
            client.terminate()
            client.wait(10)


def test_the_rdp_file_shows_the_same_desktop(demo: Demo, launched: Page, tmp_path: Path) -> None:
    """A real RDP client opens the downloaded file, is asked nothing, and shows what the browser shows, at the same
    time, though the gateway is killed meanwhile. The file names no machine, opens nothing a second time, and the
    desktop closes with its session."""
    launched.locator("#screen canvas").click()
    launched.keyboard.type("seq 1 30\n", delay=5)
    url = f"{demo.url}/api/v1/sessions/{number_of(launched)}/connection.rdp"
    file = tmp_path / "session.rdp"
    file.write_bytes(launched.request.get(url).body())
    assert "10.231." not in file.read_text()
    with remote_desktop(file) as (client, host):
        until(lambda: difference(host.picture(), picture(launched)) < 0.02, "both to show the same", 30)
        assert colours(host.picture()) > 100
        demo.wait_for_new("rdp", demo.kill("rdp"))
        before = host.picture()
        launched.keyboard.type("seq 100 199\n", delay=5)
        until(lambda: host.picture() != before, "what the browser typed to be seen", 30)
        until(lambda: difference(host.picture(), picture(launched)) < 0.02, "both to show the same again", 30)
        with remote_desktop(file) as (again, _):
            assert again.wait(30) != 0, "the file opened a second connection"
        assert client.poll() is None
        assert end(demo, launched, number_of(launched)) == 200
        assert client.wait(30) != 0, "it went on after the end of its session"


def picture(page: Page) -> Image.Image:
    """What the page shows of the desktop, at the desktop's own size."""
    shown = Image.open(io.BytesIO(pixels(page))).convert("RGB")
    return shown.resize(size(page))


def shown_width(page: Page) -> float:
    """How wide the picture is on the page."""
    box = page.locator("#screen canvas").bounding_box()
    assert box
    return box["width"]


def test_the_desktop_takes_the_windows_size(opened: Page) -> None:
    """And its own again, scaled, where one does not want that."""
    opened.set_viewport_size({"width": 1100, "height": 700})
    until(lambda: size(opened)[0] == 1100, "the desktop to be as wide as the window", 20)
    opened.locator('[data-do="fit"]').click()
    opened.set_viewport_size({"width": 800, "height": 600})
    until(lambda: shown_width(opened) <= 800, "the picture to be scaled", 20)
    assert size(opened)[0] == 1100


def test_the_clipboard_goes_both_ways(opened: Page, run: Run) -> None:
    """Letters beyond Latin too, and more of them than a VNC server takes by itself."""
    opened.locator('[data-do="clipboard"]').click()
    opened.locator("#clip-text").fill("from here: µSR Å")
    until(lambda: run(opened, "xclip -o -selection clipboard") == "from here: µSR Å", "the desktop to have it", 20)
    run(opened, "printf 'from there: 5 µeV' | xclip -i -selection clipboard > /dev/null 2>&1")
    expect(opened.locator("#clip-text")).to_have_value("from there: 5 µeV", timeout=20000)
    opened.locator("#clip-text").fill(f"{'µ' * 1000}\n" * 200)
    until(lambda: run(opened, "xclip -o -selection clipboard | wc -c").strip() == "400200", "all of it", 20)


EAR = """
const { connect } = AudioNode.prototype;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    window.ear = new AnalyserNode(to.context, { fftSize: 8192, smoothingTimeConstant: 0 });
    connect.call(this, window.ear);
  }
  return connect.call(this, to, ...rest);
};
"""  # beside the loudspeaker
LOUDEST = """() => {
  const levels = new Float32Array(ear.frequencyBinCount);
  ear.getFloatFrequencyData(levels);
  const level = Math.max(...levels);
  return [levels.indexOf(level) * ear.context.sampleRate / ear.fftSize, level];
}"""
TONE = (
    "timeout 60 gst-launch-1.0 -q audiotestsrc freq=440 ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! fdsink |"
    " timeout 60 paplay --raw --format=s16le --rate=48000 --channels=1"
)


def hears_the_tone(page: Page) -> bool:
    """Whether what is loudest is at 440 Hz."""
    frequency, decibels = page.evaluate(LOUDEST)
    return bool(430 < frequency < 450 and decibels > -60)


def is_silent(page: Page) -> bool:
    return bool(page.evaluate(LOUDEST)[1] < -90)


def test_what_the_desktop_plays_is_heard_in_the_page(opened: Page, run: Run) -> None:
    """Once the button is pressed, as loud as one wishes, also after the sound server was killed; it is remembered, and
    nothing encodes for a page that is gone."""
    opened.context.add_init_script(EAR)
    opened.reload()
    sound, words = opened.get_by_role("button", name="Sound"), opened.locator("[data-sound-words]")
    expect(words).to_have_text("Sound is off")
    assert run(opened, "pgrep -x 'pulseaudio|gst-launch-1.0'") == "", "something runs for nobody"
    sound.focus()
    opened.keyboard.press("Enter")
    expect(words).to_have_text("Sound is on")
    assert is_silent(opened)
    run(opened, f"setsid sh -c '{TONE}' > /dev/null 2>&1 &")
    until(lambda: hears_the_tone(opened), "the tone", 20)
    opened.get_by_label("Volume").focus()
    opened.keyboard.press("Home")
    until(lambda: is_silent(opened), "the volume to be 0", 10)
    opened.keyboard.press("End")
    run(opened, f"pkill -KILL -x pulseaudio; setsid sh -c '{TONE}' > /dev/null 2>&1 &")
    until(lambda: hears_the_tone(opened), "the tone of the next sound server", 20)
    opened.reload()
    expect(sound).to_have_attribute("aria-pressed", "true")
    opened.locator("#screen canvas").click()
    expect(words).to_have_text("Sound is on")
    until(lambda: hears_the_tone(opened), "the tone in the page that remembers", 20)
    PICTURES.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=PICTURES / "sound.png")
    opened.close()
    until(lambda: run(opened, "pgrep -x parec") == "", "the encoder to end with its page", 20)


def test_a_hidden_page_keeps_its_connection(opened: Page) -> None:
    """Another tab in front of it does not cut it off, and nothing has to be done on return."""
    other = opened.context.new_page()
    other.goto("about:blank")
    other.bring_to_front()
    opened.wait_for_timeout(3000)
    opened.bring_to_front()
    expect(opened.locator(".desk-state")).to_have_attribute("data-state", "connected")
    assert opened.evaluate("performance.getEntriesByName('connected').length") == 1


def test_keys_quality_and_full_screen(opened: Page) -> None:
    """Each is taken by the desktop or the browser, and the connection stays."""
    opened.locator('select[data-do="quality"]').select_option("light")
    opened.locator('[data-do="keys"]').click()
    opened.get_by_role("button", name="Ctrl+Alt+Del").click()
    opened.locator('[data-do="full"]').click()
    until(lambda: opened.evaluate("document.fullscreenElement !== null"), "full screen", 20)
    opened.locator('[data-do="full"]').click()
    until(lambda: opened.evaluate("document.fullscreenElement === null"), "the window", 20)
    expect(opened.locator(".desk-state")).to_have_attribute("data-state", "connected")


WIDER = """() => document.documentElement.scrollWidth <= screen.width ? [] : [...document.body.querySelectorAll("*")]
  .filter((element) => element.getBoundingClientRect().right > 391).map((element) => element.outerHTML.slice(0, 120))"""
# what reaches beyond the page, where the page is wider than its window


def test_a_phone_shows_the_desktop_and_has_a_keyboard(demo: Demo, opened: Page, chromium: Browser) -> None:
    """Nothing is wider than the phone, and its own keyboard types on the desktop."""
    state = opened.context.storage_state()
    phone = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, storage_state=state
    )
    page = phone.new_page()
    page.goto(opened.url)
    expect(page.locator(".desk-state")).to_have_attribute("data-state", "connected", timeout=20000)
    until(lambda: page.evaluate(WIDER) == [], "nothing to be wider than the phone", 10)
    page.locator('[data-do="keyboard"]').tap()
    before = pixels(page)
    page.locator("#typing").press_sequentially("ls /")
    page.keyboard.press("Enter")
    until(lambda: pixels(page) != before, "what was typed to be seen", 20)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / "phone.png")
    phone.close()


def test_a_lease_warns_and_ends_by_itself(demo: Demo, sign_in: SignIn) -> None:
    """The desktop's page shows how much time is left, is warned, and says what happened when it was over."""
    page = launch(sign_in("bob", "beamtime"), "Brief visit")
    expect(page.locator("[data-left]")).to_have_text(re.compile(r"\d+ s"), timeout=20000)
    expect(page.get_by_role("heading", name="This session has ended")).to_be_visible(timeout=90000)
    expect(page.locator("[data-cover] [data-text]")).to_contain_text("lease")
    with demo.client("bob") as bob:
        until(lambda: bob.get(f"/sessions/{number_of(page)}").json()["state"] == "ended", "the machine to go", 60)


def test_the_scientific_desktop_as_the_readme_shows_it(demo: Demo, sign_in: SignIn, run: Run) -> None:
    """A measurement and its plot on it; the picture is kept for the README."""
    page = launch(sign_in("bob", "beamtime"), "Scientific Python")
    run(page, "cd /usr/local/share/beamdesk/examples; setsid python3 plot.py > /dev/null 2>&1 &")
    figure = until(lambda: run(page, "xdotool search --onlyvisible --name Figure").split(), "the plot's window", 90)
    run(page, f"xdotool windowmove {figure[0]} 150 90; sleep 1; xrefresh")  # a moved window leaves lines behind
    page.locator("#screen canvas").hover()
    until(lambda: colours(picture(page)) > 2000, "the desktop to be painted", 20)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / "desktop.png")
    with demo.client("bob") as bob:
        bob.delete(f"/sessions/{number_of(page)}").raise_for_status()
