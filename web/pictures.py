"""Icons drawn into pages, so that none is fetched; from Bootstrap Icons (MIT), as `npm run build` copies them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from flask import Flask
from markupsafe import Markup

ICONS = Path(__file__).parent / "static/vendor/icons"
NAME = re.compile(r"^[a-z0-9-]+$")


def register(app: Flask) -> None:
    """Give templates `icon()`."""
    app.jinja_env.globals["icon"] = icon


@cache
def icon(name: str) -> Markup:
    """The icon of that name as inline SVG, hidden from screen readers; a plain screen where there is none."""
    path = ICONS / f"{name}.svg" if NAME.match(name) else ICONS / "display.svg"
    if not path.is_file():
        path = ICONS / "display.svg"
    drawing = path.read_text(encoding="utf-8") if path.is_file() else "<svg></svg>"
    return Markup(re.sub(r"<svg\b", '<svg aria-hidden="true" focusable="false"', drawing, count=1))  # noqa: S704
