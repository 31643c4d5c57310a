"""What crosses the edge: the bodies and queries that are taken, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from broker.identity.rights import Right, Role

Text = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
Moment = datetime
MOST_ID = 999_999_999  # of any row
Id = Annotated[int, Field(ge=1, le=MOST_ID)]


class Taken(BaseModel):
    """A body: JSON types are taken as they are, and unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Asked(BaseModel):
    """A query: values come as text."""

    model_config = ConfigDict(extra="forbid")


class Given(BaseModel):
    """An answer, read from the broker's own values."""

    model_config = ConfigDict(from_attributes=True)


def many(schema: type[Given]) -> Any:
    """A list of these, as APIFlask takes it and its types do not say."""
    return list[schema]  # type: ignore[valid-type]


class Problem(Given):
    """Any error (RFC 9457). Some carry facts of their own beside these members."""

    type: str
    title: str
    status: int
    detail: str
    hint: str
    code: str


class SignInBody(Taken):
    """Who signs in."""

    name: Text
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class PersonOut(Given):
    """A signed-in person."""

    name: str
    full_name: str
    role: Role
    groups: list[str]
    rights: list[Right]


class SignInOut(Given):
    """A sign-in: the token goes into an Authorization header as `Bearer …`."""

    token: str
    person: PersonOut


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
    since: Moment
    idle_seconds: float
    sign: str
    limit_seconds: float | None
    ends_at: Moment | None
    seconds_left: float | None
    warned: bool
    kept: bool


class SessionOut(Given):
    """One user's desktop. Durations in seconds; `launch` says when each stage was reached, since the click."""

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
    requested_at: Moment
    ready_at: Moment | None
    expires_at: Moment | None
    seconds_left: float | None
    longest_until: Moment | None
    ended_at: Moment | None
    end_reason: str | None
    failure: str | None
    machine: MachineFactsOut | None
    launch: dict[str, float]
    use: UseOut | None


class ExtendBody(Taken):
    """By how many hours; the deployment's own step where it is not said."""

    hours: Annotated[float, Field(gt=0, le=24 * 366)] | None = None


class KeepBody(Taken):
    """Until when a session is kept although it is idle: until the user's work ends, or null, not at all."""

    until: Literal["work-ends"] | None


class TicketOut(Given):
    """A secret that opens the desktop once, within a minute, at `url`."""

    ticket: str
    url: str


class OverviewOut(Given):
    """The deployment in a few numbers; `desktop_p50` is the recent median time to a desktop, in seconds."""

    ready: int
    preparing: int
    queued: int
    vacant: int
    coming: int
    acquired: int
    failed: int
    degraded: int
    desktop_p50: float | None


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
    retry_at: Moment | None
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


class MachineOut(Given):
    """One machine that is not gone."""

    id: int
    name: str
    pool: str
    environment: str
    place: str
    size: str
    state: str
    state_seconds: float
    age_seconds: float
    session: int | None
    address: str | None
    failure: str | None
    evidence: bool
    probed_at: Moment | None


class WorkerOut(Given):
    """One worker of the queues."""

    name: str
    state: str
    job: str | None
    seconds: float | None


class QueueOut(Given):
    """One queue of jobs."""

    name: str
    waiting: int
    running: int


class WorkforceOut(Given):
    """Workers and queues; `away` says why nothing is known, where that is so."""

    workers: list[WorkerOut]
    queues: list[QueueOut]
    away: str | None


class EventsQuery(Asked):
    """A page of the audit log; `before` is the last id of the page before."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    before: Id | None = None


class EventOut(Given):
    """One line of the audit log."""

    id: int
    at: Moment
    actor: str
    action: str
    kind: str
    subject: str
    detail: dict[str, object]


class StageOut(Given):
    """Seconds since the click at which recent launches reached a stage."""

    stage: str
    launches: int
    p50: float
    p95: float


class BarOut(Given):
    """How many launches took at most `upto` seconds, and more than the bar before."""

    upto: float | None
    launches: int


class LaunchTimesOut(Given):
    """One environment's recent times to desktop; the bars are of the stage `shown`."""

    environment: str
    title: str
    launches: int
    shown: str
    stages: list[StageOut]
    bars: list[BarOut]


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
    fault_at: Moment | None
    retry_at: Moment | None
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


Aware = Annotated[AwareDatetime, Field(strict=False)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")]


class ReservationBody(Taken):
    """Which machines to reserve, for which group, and when. `pools` are those to take, none for the best for `wish`."""

    title: Words
    environment: Text
    group: Text
    seats: Annotated[int, Field(ge=1, le=10_000)]
    starts_at: Aware
    ends_at: Aware
    pools: Annotated[list[Text], Field(max_length=100)] = []
    wish: WishBody = WishBody()


class ReservationChange(Taken):
    """What is to be otherwise; what is not said stays."""

    seats: Annotated[int, Field(ge=1, le=10_000)] | None = None
    starts_at: Aware | None = None
    ends_at: Aware | None = None


class ReservationOut(Given):
    """One reservation: of its seats `taken` have or wait for a machine, `ready` have one or a vacant one is kept.

    `pools` says how many each pool gives; the first machine is asked for at `fills_at`.
    """

    id: int
    title: str
    environment: str
    environment_title: str
    group: str
    seats: int
    pools: dict[str, int]
    starts_at: Moment
    ends_at: Moment
    fills_at: Moment
    made_by: str
    phase: Literal["planned", "filling", "open", "over", "cancelled"]
    taken: int
    ready: int


class CourseBody(Taken):
    """A course to be. Without `teachers` it is its maker's own, without a `notice` it has the usual one."""

    title: Words
    environment: Text
    seats: Annotated[int, Field(ge=1, le=10_000)]
    starts_at: Aware
    ends_at: Aware
    teachers: Annotated[list[Text], Field(max_length=50)] = []
    notice: Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")] = ""
    end_sessions: bool = True


class CourseOut(Given):
    """A course as its teachers see it: `ready` seats are warm or taken, `arrived` people came, `accepted` take part."""

    id: int
    title: str
    environment: str
    environment_title: str
    notice: str
    teachers: list[str]
    seats: int
    starts_at: Moment
    ends_at: Moment
    when: Literal["planned", "open", "over"]
    ready: int
    arrived: int
    accepted: int
    end_sessions: bool
    link_open: bool
    made_by: str


class CourseMadeOut(Given):
    """A course, and its invite link, which is told this once."""

    course: CourseOut
    link: str | None


class LinkOut(Given):
    """An invite link, which is told this once."""

    link: str


class CourseSeatOut(Given):
    """One person in a course; `visible` says whether there is a picture of their desktop now."""

    user_id: int
    user: str
    full_name: str
    arrived_at: Moment
    accepted: bool
    pictures: bool
    session: int | None
    state: Literal["requested", "queued", "preparing", "ready"] | None
    visible: bool


class JoinBody(Taken):
    """The secret at the end of an invite link; and whether the teachers may see pictures of one's desktop."""

    token: Text
    pictures: bool


class PicturesBody(Taken):
    """Whether the teachers may see pictures of one's desktop."""

    pictures: bool


class MySeatOut(Given):
    """One's own seat in a course, and the session on it."""

    course: int
    title: str
    notice: str
    teachers: list[str]
    starts_at: Moment
    ends_at: Moment
    when: Literal["planned", "open", "over"]
    pictures: bool
    end_sessions: bool
    session: int | None


class HealthOut(Given):
    """Whether the parts that this process needs answer."""

    database: bool
    redis: bool
