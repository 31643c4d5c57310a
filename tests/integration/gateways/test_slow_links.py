"""The desktop over a slow link, in the real Chromium: the picture gets light where it must, and sharp again."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.integration.gateways.lab import Screen
from tests.integration.gateways.portal import PICTURES, Portal, connected
from tests.integration.gateways.slow_link import slow_link
from tests.waiting import until

MBIT = 125_000
PROGRAM = """
import sys, tkinter
root = tkinter.Tk()
root.overrideredirect(True)
root.geometry("800x600+0+0")
photographs = [tkinter.PhotoImage(file=name) for name in sys.argv[1:]]
shown = tkinter.Label(root, image=photographs[0])
shown.place(x=0, y=0)
corner = tkinter.Frame(root, width=200, height=600, bg="red")
corner.place(x=600, y=0)
def turn(number):
    shown.config(image=photographs[number])
    root.after(500, turn, (number + 1) % len(photographs))
root.bind("<Key-x>", lambda _: corner.config(bg="green" if corner["bg"] == "red" else "red"))
root.after(100, root.focus_force)
turn(0)
print("up", flush=True)
root.mainloop()
"""  # photographs that change twice a second, and a corner that changes with each key
IS_RED = """() => {
    const pixel = document.querySelector("#screen canvas").getContext("2d").getImageData(700, 400, 1, 1).data;
    return pixel[0] > pixel[1];
}"""
THROUGH = """(() => {
    const Direct = WebSocket;
    window.WebSocket = function (url, ...more) { return new Direct(url.replace("%s", "%s"), ...more); };
    Object.assign(window.WebSocket, Direct);
})()"""


def photograph(seed: int) -> Image.Image:
    """A picture with soft forms and a little grain, as a camera makes it."""
    grain = random.Random(seed)
    forms = Image.frombytes("RGB", (30, 30), grain.randbytes(2700)).resize((600, 600), Image.Resampling.BICUBIC)
    return Image.blend(forms, Image.frombytes("RGB", (600, 600), grain.randbytes(1_080_000)), 0.06)


@pytest.fixture
def busy(screen: Screen, tmp_path: Path) -> Iterator[None]:
    """A screen of which three quarters change twice a second."""
    names = [str(tmp_path / f"{number}.ppm") for number in range(3)]
    for number, name in enumerate(names):
        photograph(number).save(name)
    with screen.program("/usr/bin/python3", "-c", PROGRAM, *names) as printed:
        until(lambda: "up" in printed(), "the photographs")
        yield


def press_and_see(page: Page) -> None:
    """Press a key, and see what it does."""
    before = page.evaluate(IS_RED)
    page.keyboard.press("x")
    until(lambda: page.evaluate(IS_RED) != before, "the key to be seen", 20)


def picture(page: Page, step: str) -> None:
    """Wait until the picture is as light or sharp as this, by itself."""
    expect(page.locator("[data-signal]")).to_have_attribute("data-step", step, timeout=60_000)


@pytest.mark.usefixtures("busy")
def test_a_slow_link_gets_a_light_picture_and_a_good_one_a_sharp_one(desktops: Portal) -> None:
    """At 1 Mbit/s and 200 ms, what a key does is seen while most of the screen changes twice a second; over a
    good link the picture is sharp again. What the user chose stays as it is."""
    desk = desktops.lab.desk()
    with slow_link(desktops.lab.gateway.address, rate=MBIT, delay=0.1) as link:
        page = desktops.open(desk.token, "/", bypass_csp=True)
        page.add_init_script(THROUGH % (desktops.lab.gateway.address, link.address))
        page.goto(f"{desktops.address}/desktop/{desk.session_id}")
        connected(page)
        page.locator("#screen canvas").click(position={"x": 880, "y": 500})
        picture(page, "light")
        expect(page.locator("[data-trip]")).to_have_text(re.compile(r"\d{3,} ms"))
        press_and_see(page)
        link.rate, link.delay = 100 * MBIT, 0.005
        picture(page, "sharp")
        page.screenshot(path=PICTURES / "desktop-bar.png")
        page.locator('select[data-do="quality"]').select_option("light")
        picture(page, "light")
