"""Pools."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from web.api.schemas import Asked, Given, Taken


class PoolOut(Given):
    """One pool against its target and limit; `reason` is what its keeper thinks of it now, `goal` the vacant machines
    that it keeps, `reserved` ones among them. One that is sized by demand is expected to have `launches_hourly`, and
    keeps at least `target`."""

    name: str
    environment: str
    title: str
    cloud: str
    place: str
    size: str
    cores: int
    memory_gb: float
    gpus: int
    vacant: int
    coming: int
    acquired: int
    failed: int
    deleting: int
    queued: int
    target: int
    goal: int
    reserved: int
    limit: int
    sizing: Literal["fixed", "demand"]
    launches_hourly: float | None
    mode: Literal["serving", "draining"]
    degraded: bool
    failures: int
    failure: str | None
    retry_at: datetime | None
    reason: str
    build_seconds: float | None
    image: str


class HistoryQuery(Asked):
    """How far back, in hours."""

    hours: Annotated[float, Field(gt=0, le=48)] = 3


class HistoryOut(Given):
    """The steps of a pool's counts; `at` in Unix seconds."""

    at: list[float]
    vacant: list[int]
    coming: list[int]
    acquired: list[int]
    failed: list[int]


class ResizeBody(Taken):
    """What a pool is kept at from now on."""

    target: Annotated[int, Field(ge=0, le=10_000)]
    limit: Annotated[int, Field(ge=0, le=10_000)]
