"""How values read in pages: durations, moments, sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from markupsafe import Markup, escape

from broker.database import now
from broker.sessions.availability import about


def register(app: Flask) -> None:
    """Give templates these words."""
    filters = (duration, about, ago, iso, local_times, memory, plural, capitalize_first, told)
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


TIME = re.compile(r"\b((?:[01]\d|2[0-3]):[0-5]\d) UTC\b(?: on (\d{1,2} [A-Z][a-z]+))?")  # broker.pools.reserving.clock


def local_times(words: str, said_at: datetime | None = None) -> Markup:
    """Sentences of the broker's, with their times as the page's script shows them: by the reader's own clock.

    `said_at` is when they were said, now where it is None: a time without a day is of that day.
    """
    moment = (said_at or now()).astimezone(UTC)
    shown, end = Markup(), 0
    for found in TIME.finditer(words):
        meant = _meant(found[1], found[2] or f"{moment:%d %B}", moment)
        if meant is not None:
            time = Markup('<time datetime="{0}" data-clock="{0}">{1}</time>').format(iso(meant), found[0])
            shown, end = shown + escape(words[end : found.start()]) + time, found.end()
    return shown + escape(words[end:])


def _meant(time: str, day: str, said_at: datetime) -> datetime | None:
    """The moment nearest to `said_at` at this time of this day, if there is such a day."""
    found = []
    for year in (said_at.year - 1, said_at.year, said_at.year + 1):
        with suppress(ValueError):  # no year has a 31 April, and few a 29 February
            found.append(datetime.strptime(f"{time} {day} {year} +0000", "%H:%M %d %B %Y %z"))
    return min(found, key=lambda moment: abs(moment - said_at), default=None)


def memory(gigabytes: float) -> str:
    """An amount of memory."""
    return f"{gigabytes:g} GB"


def plural(number: int, one: str, many: str = "") -> str:
    """The number with its noun: "1 core", "4 cores"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def capitalize_first(words: str) -> str:
    """The sentence with a capital first letter; names inside keep theirs."""
    return words[:1].upper() + words[1:]


def told(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The detail of an audit row by name, the reason first; what are no words is JSON."""
    ordered = sorted(detail.items(), key=lambda pair: pair[0] != "reason")
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in ordered]
