"""How values read in pages: durations, moments, sizes."""

from __future__ import annotations

from datetime import datetime

from flask import Flask

from broker.database import now
from broker.sessions.availability import about


def register(app: Flask) -> None:
    """Give templates these words."""
    filters = (duration, about, ago, iso, memory, plural, capitalize_first)
    app.jinja_env.filters.update({word.__name__: word for word in filters})
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def duration(seconds: float | None) -> str:
    """A length of time in at most two units: "1 d 4 h", "12 min", "0.8 s", "4 ms"."""
    if seconds is None:
        return "–"
    if seconds < 0.095:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def ago(moment: datetime | None) -> str:
    """How long ago that was."""
    if moment is None:
        return "never"
    seconds = (now() - moment).total_seconds()
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"


def iso(moment: datetime | None) -> str:
    """The moment as scripts read it."""
    return moment.isoformat() if moment is not None else ""


def memory(gigabytes: float) -> str:
    """An amount of memory."""
    return f"{gigabytes:g} GB"


def plural(number: int, one: str, many: str = "") -> str:
    """The number with its noun: "1 core", "4 cores"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def capitalize_first(words: str) -> str:
    """The sentence with a capital first letter; names inside keep theirs."""
    return words[:1].upper() + words[1:]
