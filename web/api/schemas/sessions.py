"""Sessions: what is wished, what is told, and the ways in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from web.api.schemas import Asked, Given, Id, Taken, Text


class SessionsQuery(Asked):
    """Which sessions: those that are not over, or a page of those that are."""

    state: Literal["active", "ended"] = "active"
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    before: Id | None = None


class WishBody(Taken):
    """A wish: what a machine must have; `prefer` and `near` are locations that only speak for a machine."""

    location: Text | None = None
    cores: Annotated[int, Field(ge=0, le=1024)] = 0
    memory_gb: Annotated[float, Field(ge=0, le=65536)] = 0
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    gpu_model: Text | Literal[""] = ""
    architecture: Literal["", "x86_64", "aarch64"] = ""
    prefer: Text | None = None
    near: Text | None = None


class LaunchBody(WishBody):
    """A wish. Only `environment` is needed; `another` allows a second session of it."""

    environment: Text
    another: bool = False


class WishOut(Given):
    """A wish, as it can be asked for."""

    location: str | None
    cores: int
    memory_gb: float
    gpus: int
    gpu_model: str
    architecture: str
    prefer: str | None
    near: str | None


class AlternativeOut(Given):
    """What could be had sooner, in `wait_seconds` (0 is now), and the wish that leads there."""

    pool: str
    place: str
    size: str
    cores: int
    gpus: int
    wait_seconds: float
    wish: WishOut


class WhyNotOut(Given):
    """Why one pool has no machine for the wish now."""

    pool: str
    place: str
    size: str
    reason: str


class StepOut(Given):
    """One step of a launch; `seconds` since the click it was done."""

    name: str
    title: str
    done: bool
    seconds: float | None


class MachineFactsOut(Given):
    """What a session's machine is."""

    name: str
    location: str
    cores: int
    memory_gb: float
    gpus: int
    gpu_model: str
    properties: dict[str, str]


class UseOut(Given):
    """How a ready session is used. `work` is the load of the user's programs just now; nobody and nothing has used it
    for `idle_seconds`, since `sign`. After `limit_seconds` without use, at `ends_at`, it ends; null is never.
    """

    state: Literal["working", "in-use", "idle", "unknown"]
    work: str
    since: datetime
    idle_seconds: float
    sign: str
    limit_seconds: float | None
    ends_at: datetime | None
    seconds_left: float | None
    warned: bool
    kept: bool


class PolicyOut(Given):
    """What a desktop's doors may do, beside its picture, keys and pointer."""

    clipboard_in: bool
    clipboard_out: bool
    files_in: bool
    files_out: bool
    printing: bool
    audio: bool


class SessionOut(Given):
    """One user's desktop. Durations in seconds; `launch` says when each stage was reached, since the click.
    `not_allowed` says in sentences what the policy does not allow to a connection that is opened now. `account` is the
    one on its machine: not `user` where somebody has handed it over. It counts for `group`, which may be none ("")."""

    id: int
    user: str
    environment: str
    title: str
    icon: str
    state: Literal["requested", "queued", "preparing", "ready", "ending", "ended", "failed"]
    steps: list[StepOut]
    reason: str
    place: int | None
    wait_seconds: float | None
    alternatives: list[AlternativeOut]
    why_not: list[WhyNotOut]
    requested_at: datetime
    ready_at: datetime | None
    expires_at: datetime | None
    seconds_left: float | None
    longest_until: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    failure: str | None
    machine: MachineFactsOut | None
    launch: dict[str, float]
    use: UseOut | None
    policy: PolicyOut
    not_allowed: list[str]
    group: str
    account: str


class ExtendBody(Taken):
    """By how many hours; the deployment's own step where it is not said."""

    hours: Annotated[float, Field(gt=0, le=24 * 366)] | None = None


class KeepBody(Taken):
    """Until when a session is kept although it is idle: until the user's work ends, or null, not at all."""

    until: Literal["work-ends"] | None


class TicketOut(Given):
    """A secret that opens the desktop, or its sound, once, within a minute, at `url`."""

    ticket: str
    url: str
