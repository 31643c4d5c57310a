"""Recorded days: JSON lines, one for each launch, that name no person; the first line has the measured build times.

{"build_seconds": {"science-ral": [612.4, 598.0]}}
{"at": "2026-11-18T09:12:01+00:00", "pool": "science-ral", "seconds": 5400.0, "wish": {"environment": "science"}}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import select

from broker.database import Database, now
from broker.errors import InvalidRequest
from broker.pools import builds, stock
from broker.pools.allocation import Wish
from broker.sessions.models import UserSession
from broker.settings import Settings
from broker.simulation.scenario import DAY, Launch, Scenario, clouds_of, pools_of

_HINT = "docs/simulate.md says what a recorded day has in it."
_WISH: TypeAdapter[Wish] = TypeAdapter(Wish)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")


Line = TypeVar("Line", bound=_Line)


class BuildTimes(_Line):
    """The first line."""

    build_seconds: dict[str, list[float]]


class RecordedLaunch(_Line):
    """Each other line. `seconds` is how long the machine was used; `wish` as allocation knows it."""

    at: AwareDatetime
    pool: str
    seconds: float = Field(ge=0)
    wish: dict[str, Any]


def record(database: Database, settings: Settings, days: float) -> Iterator[str]:
    """The lines of the last `days`; sessions that go on count until now.

    Who had a reservation's seat is left out, as from the forecast: their machines were made besides.
    """
    moment, one = now(), UserSession
    launches = (
        select(one.requested_at, one.ready_at, one.ended_at, one.pool, one.wish)
        .where(one.requested_at > moment - timedelta(days=days), one.pool.is_not(None), one.reservation_id.is_(None))
        .order_by(one.requested_at)
    )
    with database.reading() as db:
        yield BuildTimes(build_seconds=builds.recent(db, settings.pools)).model_dump_json()
        for asked, ready, ended, pool, wish in db.execute(launches):
            used = ((ended or moment) - (ready or asked)).total_seconds()
            line = RecordedLaunch(at=asked, pool=pool or "", seconds=max(0.0, used), wish=_said(wish))
            yield line.model_dump_json()


def _said(wish: dict[str, Any]) -> dict[str, Any]:
    """What the wish says beyond nothing."""
    return {key: value for key, value in wish.items() if key == "environment" or value}


def read(path: Path, settings: Settings) -> Scenario:
    """The recorded day with the pools of the settings: the last 24 hours count, the rest is what led to them."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is no text.", hint=_HINT) from None
    if not lines:
        raise InvalidRequest(f"{path} is empty.", hint="Make it with `beamdesk simulate --record FILE`.")
    times = _parse(BuildTimes, path, 1, lines[0])
    launches = [_parse(RecordedLaunch, path, number, line) for number, line in enumerate(lines[1:], 2)]
    if not launches:
        raise InvalidRequest(f"{path} has no launch.", hint="Record more days.")
    return _scenario(path, settings, times, sorted(launches, key=lambda launch: launch.at))


def _scenario(path: Path, settings: Settings, times: BuildTimes, launches: list[RecordedLaunch]) -> Scenario:
    until = launches[-1].at.timestamp() + 1
    before = until - 2 * DAY
    past: dict[str, list[float]] = {}
    for launch in launches:
        if launch.at.timestamp() < before:
            past.setdefault(launch.pool, []).append(launch.at.timestamp())
    return Scenario(
        title=f"{path.name}: the day until {_moment(launches[-1].at)}",
        clouds=clouds_of(settings),
        pools=pools_of(settings, {pool: sum(s) / len(s) for pool, s in times.build_seconds.items() if s}),
        launches=[one for launch in launches if (one := _launch(path, launch)).at >= before],
        measured_from=until - DAY,
        until=until,
        past=past,
        weights=stock.weights(settings),
    )


def _launch(path: Path, launch: RecordedLaunch) -> Launch:
    try:
        return Launch(launch.at.timestamp(), _WISH.validate_python(launch.wish), launch.seconds)
    except ValidationError as error:
        raise _not_a_recording(path, f"the launch at {launch.at}", error) from None


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%-d %B %Y, %H:%M} UTC"


def _parse(kind: type[Line], path: Path, number: int, line: str) -> Line:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise _not_a_recording(path, f"line {number}", error) from None


def _not_a_recording(path: Path, where: str, error: ValidationError) -> InvalidRequest:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    return InvalidRequest(f"{path}, {where}: {key}: {problem['msg']}.", hint=_HINT)


def write(path: Path, lines: Iterable[str]) -> int:
    """Write the lines; how many launches they have."""
    text = list(lines)
    path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    return len(text) - 1
