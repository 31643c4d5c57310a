"""Clouds."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from web.api.schemas import Given


class CloudOut(Given):
    """One cloud, how it stands, and how much of its limits is used.

    `breaker` is open while the cloud is away and asked for nothing; `room_*` is what its quota leaves, null where it
    sets no limit or does not say; `cost_hourly` is in the unit of the settings. One that is `leaving` is no longer in
    the settings.
    """

    name: str
    title: str
    location: str
    driver: str
    leaving: bool
    mode: Literal["serving", "draining"]
    breaker: Literal["closed", "open", "half-open"]
    faults: int
    fault: str | None
    fault_at: datetime | None
    retry_at: datetime | None
    room_nodes: int | None
    room_cores: int | None
    room_memory_gb: float | None
    cost_hourly: float
    machines: int
    vacant: int
    acquired: int
    building: int
    concurrent_builds: int
    limit: int
    failure: str | None
