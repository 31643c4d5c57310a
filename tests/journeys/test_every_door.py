"""One desktop by every door at the same time: two browsers, a real RDP client, and a real VNC viewer through SSH."""

from __future__ import annotations

import base64
import io
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Page, expect

from tests.demo import Demo
from tests.journeys.conftest import SignIn, download, number_of
from tests.screens import Screen, difference, screen
from tests.waiting import until

COLOURS = {
    "m": (0x88, 0x33, 0x99),
    "r": (0xAA, 0x22, 0x22),
    "g": (0x22, 0xAA, 0x44),
    "b": (0x22, 0x66, 0xAA),
    "y": (0xDD, 0xBB, 0x22),
}
CASES = " ".join(f"{key}) c='#{r:02x}{g:02x}{b:02x}';;" for key, (r, g, b) in COLOURS.items())
PAINTS = rf"""stty raw -echo; printf '\033[?25l'; key=m
while true
do case $key in {CASES} *) exit;; esac; printf '\033]10;%s\007\033]11;%s\007' $c $c; key=$(head -c 1)
done"""  # the whole window in the colour of the key that was typed last
WINDOW = f"setsid xterm -b 0 +sb -geometry 130x36+100+50 -e sh -c {shlex.quote(PAINTS)} > /dev/null 2>&1 &"
DATA = "document.querySelector('#screen canvas').toDataURL().split(',')[1]"
ASIDE = (30, 300)  # beside the painted window: viewers are sent the pointer of others as a part of the picture
ASKS = "Requesting framebuffer resize"  # of the viewer's log
STATISTICS = (250, 150)  # pixels of its window's corner, where it draws them while it keeps a log
BAR = 46  # pixels above the desktop in the browser


class Tab:
    """A browser's."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def picture(self) -> Image.Image:
        """The whole desktop, unscaled, as the page was sent it."""
        return Image.open(io.BytesIO(base64.b64decode(self.page.evaluate(DATA)))).convert("RGB")

    def type(self, key: str) -> None:
        """Type this on the desktop."""
        self.page.locator("#screen canvas").click()
        self.page.keyboard.type(key)
        self.page.locator("#screen canvas").hover(position=dict(zip("xy", ASIDE, strict=True)))

    def resize(self, width: int, height: int) -> None:
        """Let the desktop's part of the page have this size."""
        self.page.set_viewport_size({"width": width, "height": height + BAR})


@dataclass
class Client:
    """A client with a window of its own, which is called so, on a host's screen."""

    host: Screen
    process: subprocess.Popen[bytes]
    title: str

    def _do(self, *words: str) -> str:
        line = ["xdotool", "search", "--name", self.title, *words]
        own = {**os.environ, "DISPLAY": self.host.display}
        return subprocess.run(line, env=own, capture_output=True, text=True, timeout=20).stdout

    def picture(self) -> Image.Image:
        """What is in its window; a point where it has none."""
        found = dict(line.split("=") for line in self._do("getwindowgeometry", "--shell").splitlines())
        x, y, width, height = (int(found.get(name, 0)) for name in ("X", "Y", "WIDTH", "HEIGHT"))
        return self.host.picture().crop((x, y, x + max(width, 1), y + max(height, 1)))

    def type(self, key: str) -> None:
        """Type this in its window."""
        self._do("windowfocus", "--sync", "mousemove", "--window", "%1", "400", "300", "key", key)
        self._do("mousemove", "--window", "%1", *map(str, ASIDE))
        self._do("mousemove", "1990", "1390")

    def resize(self, width: int, height: int) -> None:
        """Let its window have this size."""
        self._do("windowsize", str(width), str(height))

    def kill(self) -> None:
        """With all that it has started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


Door = Tab | Client


@contextmanager
def client(line: Sequence[str], title: str, folder: Path) -> Iterator[Client]:
    """Such a client, once it shows a window."""
    with screen(2000, 1400) as host, (folder / f"{title}.log").open("wb") as log:
        own = {"DISPLAY": host.display, "HOME": str(folder), "PATH": os.environ["PATH"]}
        how = {"cwd": folder, "env": own, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        process = subprocess.Popen(line, start_new_session=True, **how)
        made = Client(host, process, title)
        try:
            until(lambda: made.picture().width > 100, f"{title}; its log is {log.name}", 30)
            yield made
        finally:
            if process.poll() is None:
                made.kill()


def painted(picture: Image.Image, key: str) -> tuple[tuple[int, int, int, int] | None, int]:
    """The edges of what has this key's colour, and how many pixels have it."""
    solid = Image.new("RGB", picture.size, COLOURS[key])
    mask = ImageChops.difference(picture, solid).convert("L").point(lambda value: 255 * (value < 4))
    return mask.getbbox(), mask.histogram()[255]


def inside(file: Path, line: str) -> str:
    """What a shell's line prints in the desktop."""
    display = "export DISPLAY=:1 XAUTHORITY=/run/beamdesk/session/xauthority"
    words = ["ssh", "-F", str(file), "desktop", f"{display}; {line}"]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def guest(demo: Demo, owner: Page, sign_in: SignIn) -> Page:
    """Bob, who may control it."""
    url, headers = f"{demo.url}/api/v1/sessions/{number_of(owner)}/shares", {"X-Requested-With": "test"}
    share = owner.request.post(url, data={"user": "bob", "control": True, "hours": 1}, headers=headers).json()
    page = sign_in("bob", "beamtime")
    page.goto(f"{demo.url}/shared/{share['share']['id']}")
    expect(page.locator(".desk-state")).to_have_attribute("data-state", "connected")
    return page


def command(portal: Page, way: str, more: str = "") -> list[str]:
    """What the portal shows that one runs: to the letter, by the shell that it is for."""
    if not portal.locator("#connect").is_visible():
        portal.get_by_role("button", name="Connect").click()
    expect(portal.locator(f"[data-{way}]")).not_to_be_empty()
    return ["bash", "-c", portal.locator(f"[data-{way}]").text_content() + more]


def second_screen_stays(first: Page, file: Path, viewer: Path) -> None:
    """Open one, though the VNC viewer, whose window follows, then asks for a single screen of the whole size."""
    asked = viewer.read_text().count(ASKS)
    with first.expect_popup() as opened:
        first.locator('[data-do="second"]').press("Enter")
    until(lambda: viewer.read_text().count(ASKS) > asked, "the viewer to ask for one screen")
    until(lambda: inside(file, "xrandr --listmonitors").startswith("Monitors: 2"), "both screens to be there again")
    opened.value.close()


def same(doors: Sequence[Door], key: str, size: tuple[int, int] | None = None) -> bool:
    """Whether each shows this colour, with the same edges, in the same picture, of this size."""
    pictures = [door.picture() for door in doors]
    for picture in pictures:
        picture.paste(0, (picture.width - STATISTICS[0], picture.height - STATISTICS[1], *picture.size))
    edges = {painted(picture, key) for picture in pictures}
    far = max(difference(pictures[0], picture) for picture in pictures)
    sizes = {picture.size for picture in pictures}
    return sizes == {size or pictures[0].size} and len(edges) == 1 and (None, 0) not in edges and far < 0.01


def test_who_comes_by_whichever_door_sees_and_does_the_same(
    demo: Demo, launched: Page, sign_in: SignIn, tmp_path: Path
) -> None:
    """What one types all see, to the pixel. Whoever gives the desktop another size, all follow; and one
    that is killed takes nothing from the others. The VNC server sees its viewer come from the machine itself."""
    file = tmp_path / f"beamdesk-{number_of(launched)}.conf"
    download(launched, file)
    inside(file, WINDOW)
    portal = sign_in("alice", "beamtime")
    url = f"{demo.url}/api/v1/sessions/{number_of(launched)}/connection.rdp"
    file.with_suffix(".rdp").write_bytes(launched.request.get(url).body())
    with ExitStack() as stack:
        vnc = stack.enter_context(client(command(portal, "vnc", " -Log '*:stderr:100'"), "TigerVNC", tmp_path))
        rdp = stack.enter_context(client(command(portal, "rdp", " /cert:ignore"), "FreeRDP", tmp_path))
        own, other = Tab(launched), Tab(guest(demo, launched, sign_in))
        doors = [own, other, vnc, rdp]
        until(lambda: same(doors, "m"), "all to see the same", every=0.3)
        assert "127.0.0.1:5901" in inside(file, "ss -Htn state established src 127.0.0.1:5901")
        for door, key in zip(doors, "rgby", strict=True):
            door.type(key)
            until(lambda key=key: same(doors, key), f"all to see what was typed by {door}", every=0.3)
        for door, size in (own, (1100, 640)), (rdp, (1000, 620)), (vnc, (1200, 700)):
            door.resize(*size)
            until(lambda size=size: same(doors, "y", size), f"all to have the size of {door}", every=0.3)
        second_screen_stays(launched, file, tmp_path / "TigerVNC.log")
        for door in rdp, vnc:
            door.kill()
            doors.remove(door)
            own.type("r")
            until(lambda: same(doors, "r"), "the others to go on", every=0.3)
