"""Virtual screens for programs that need one, and what is on a picture."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from tests.waiting import until

XWD_VERSION = 7


def colours(picture: Image.Image) -> int:
    """How many different colours a picture has."""
    return len(picture.getcolors(maxcolors=1 << 24) or ())


def difference(one: Image.Image, other: Image.Image) -> float:
    """How far two pictures are apart, from 0 (the same) to 1, seen from some distance."""
    if one.size != other.size:
        return 1.0
    small = [picture.resize((160, 100), Image.Resampling.BOX) for picture in (one, other)]
    histogram = ImageChops.difference(*small).convert("L").histogram()
    return sum(value * count for value, count in enumerate(histogram)) / (255 * 160 * 100)


@dataclass
class Screen:
    """A screen of this host for programs that need one."""

    display: str
    frame_buffer: Path

    def picture(self) -> Image.Image:
        """What is on it; Xvfb's frame buffer is a file in the format of xwd."""
        data = until(self._whole, "a picture of the screen")
        header = [int.from_bytes(data[i : i + 4]) for i in range(0, 100, 4)]
        start, width, height, line = header[0] + 12 * header[19], header[4], header[5], header[12]
        return Image.frombuffer("RGB", (width, height), data[start:], "raw", "BGRX", line, 1)

    def _whole(self) -> bytes:
        """As it is in the file; nothing in the moment in which Xvfb turns the bytes of the header's numbers round."""
        data = self.frame_buffer.read_bytes()
        return data if int.from_bytes(data[4:8]) == XWD_VERSION else b""


@contextmanager
def screen(width: int, height: int) -> Iterator[Screen]:
    """A virtual screen that goes away with everything on it."""
    with tempfile.TemporaryDirectory() as folder:
        told, tell = os.pipe()
        line = ["Xvfb", "-displayfd", str(tell), "-screen", "0", f"{width}x{height}x24", "-fbdir", folder]
        server = subprocess.Popen([*line, "-noreset", "-nolisten", "tcp"], pass_fds=[tell], stderr=subprocess.DEVNULL)
        os.close(tell)
        try:
            with os.fdopen(told) as number:
                display = f":{number.readline().strip()}"
            yield Screen(display, Path(folder) / "Xvfb_screen0")
        finally:
            server.kill()
            server.wait()
