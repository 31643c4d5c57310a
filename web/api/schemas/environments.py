"""Environments, places and quotas."""

from __future__ import annotations

from web.api.schemas import Given


class AvailabilityOut(Given):
    """What a launch would find now; `wait_seconds` is null where nobody can know."""

    vacant: int
    coming: int
    ahead: int
    wait_seconds: float | None
    text: str
    ready: bool
    possible: bool


class SizeOut(Given):
    """A size that can be asked for, and how many of it are free; `properties` are those of its machines."""

    cores: int
    memory_gb: float
    gpus: int
    gpu_model: str
    architecture: str
    location: str
    place: str
    vacant: int
    properties: dict[str, str]


class EnvironmentOut(Given):
    """What can be launched; `session` is the caller's own one that is not over."""

    name: str
    title: str
    description: str
    icon: str
    properties: dict[str, str]
    lease_hours: float
    availability: AvailabilityOut
    sizes: list[SizeOut]
    session: int | None


class LocationOut(Given):
    """A place where machines are."""

    name: str
    title: str


class QuotaOut(Given):
    """One limit and how much of it is used, by environment; `whose` is empty for one's own. `name` is the setting."""

    name: str
    whose: str
    unit: str
    limit: int
    used: int
    by: dict[str, int]


class LimitsOut(Given):
    """What one user may hold, and how long sessions live."""

    quotas: list[QuotaOut]
    sessions_per_user: int
    sessions: int
    default_hours: float
    maximum_hours: float
    extend_hours: float
    warn_minutes: list[float]
