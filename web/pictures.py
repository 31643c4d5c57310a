"""Icons drawn into pages, so that none is fetched; from Bootstrap Icons (MIT), as `npm run build` copies them.

For programs that know no SVG the same icon is a PNG.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import resvg_py
from flask import Flask
from markupsafe import Markup

ICONS = Path(__file__).parent / "static/vendor/icons"
NAME = re.compile(r"^[a-z0-9-]+$")
PIXELS = 128
EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"></svg>'


def register(app: Flask) -> None:
    """Give templates `icon()`."""
    app.jinja_env.globals["icon"] = icon


@cache
def icon(name: str) -> Markup:
    """The icon of that name as inline SVG, hidden from screen readers; a plain screen where there is none."""
    return Markup(re.sub(r"<svg\b", '<svg aria-hidden="true" focusable="false"', _drawing(name), count=1))  # noqa: S704


@cache
def png(name: str) -> bytes:
    """The same icon as a square PNG, in the brand's colour on nothing."""
    drawing = _drawing(name).replace("currentColor", "#0f6f74")
    return resvg_py.svg_to_bytes(svg_string=drawing, width=PIXELS, height=PIXELS, skip_system_fonts=True)


def _drawing(name: str) -> str:
    path = ICONS / f"{name}.svg" if NAME.match(name) else ICONS / "display.svg"
    if not path.is_file():
        path = ICONS / "display.svg"
    return path.read_text(encoding="utf-8") if path.is_file() else EMPTY
