"""The tables of beamdesk.toml of which there is one: [web], [leases] and such."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from broker.settings.section import Name, Section

Listen = Annotated[str, StringConstraints(pattern=r"^[^:\s]+:\d{1,5}$")]


class DatabaseSettings(Section):
    """Where the truth is kept: an SQLAlchemy URL, SQLite or PostgreSQL. Empty: SQLite in the state directory."""

    url: str = ""


class RedisSettings(Section):
    """Redis for queues and live pages; a hint only, never the truth. Empty: a socket in the state directory."""

    url: str = ""


class WebSettings(Section):
    """The portal and API."""

    listen: Listen = "127.0.0.1:8080"
    public_url: str = Field("http://localhost:8080", pattern=r"^https?://[^/]+$")
    threads: int = Field(64, ge=8, le=1000)
    sign_in_hours: float = Field(12, gt=0, le=24 * 30)
    live_sockets: int = Field(32, ge=1, le=900)
    live_sockets_per_user: int = Field(8, ge=1, le=100)
    proxies: int = Field(0, ge=0, le=9)
    requests_per_minute: int = Field(3000, ge=60, le=1_000_000)

    @model_validator(mode="after")
    def _threads_left_for_pages(self) -> WebSettings:
        if self.live_sockets > self.threads * 3 // 4:
            raise ValueError(f"live_sockets must be at most three quarters of threads ({self.threads * 3 // 4})")
        return self

    @property
    def is_https(self) -> bool:
        """Whether people reach this deployment by https."""
        return self.public_url.startswith("https:")

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the sign-in's token; under https no other host can set it."""
        return "__Host-beamdesk" if self.is_https else "beamdesk"


class GatewaySettings(Section):
    """The browser gateway: where it listens, and the address that pages are told (on the portal's own host, because
    browsers send their sign-in nowhere else); how many desktops it carries at once, in all and of one session; and
    for how many seconds after SIGTERM it waits for open ones, where they would die with it (in a container)."""

    listen: Listen = "127.0.0.1:6080"
    public_url: str = Field("ws://localhost:6080", pattern=r"^wss?://[^/]+$")
    ticket_seconds: int = Field(60, ge=5, le=600)
    connections: int = Field(500, ge=1, le=30000)
    connections_per_session: int = Field(8, ge=1, le=1000)
    drain_seconds: float = Field(0, ge=0, le=24 * 3600)
    proxies: int = Field(0, ge=0, le=9)


class RdpSettings(Section):
    """The RDP gateway: where it listens, and the host and port that connection files name (the host of web.public_url
    and the port of `listen` where nothing is said). A file opens one connection within `ticket_seconds`. TLS goes
    from client to `machine`, or ends at the `gateway` with this certificate and is TLS again to the machine. Files are
    signed where there is a certificate for it. How many desktops it carries at once, in all, for one address of the
    network, and of one session; `drain_seconds` as in [gateway]."""

    listen: Listen = "127.0.0.1:3389"
    public_address: str = Field("", pattern=r"^([A-Za-z0-9._-]+:\d{1,5})?$")
    ticket_seconds: int = Field(600, ge=5, le=24 * 3600)
    tls: Literal["machine", "gateway"] = "machine"
    certificate: Path | None = None
    key: Path | None = None
    signing_certificate: Path | None = None
    signing_key: Path | None = None
    connections: int = Field(500, ge=1, le=30000)
    connections_per_address: int = Field(100, ge=1, le=30000)
    connections_per_session: int = Field(8, ge=1, le=1000)
    drain_seconds: float = Field(0, ge=0, le=24 * 3600)

    @model_validator(mode="after")
    def _keys_with_their_certificates(self) -> RdpSettings:
        if self.tls == "gateway" and not (self.certificate and self.key):
            raise ValueError('tls = "gateway" needs certificate and key')
        if bool(self.signing_certificate) != bool(self.signing_key):
            raise ValueError("signing_certificate and signing_key need each other")
        return self


class SshSettings(Section):
    """The SSH gateway: where it listens, and the host and port that connection files name (the portal's host, and the
    port of `listen`, where they are empty); the account that it runs as (the web's own, where it is empty); how many
    connections it carries at once, in all and of one session, and how many may be on their way in; and for how many
    seconds after SIGTERM it waits for open ones."""

    listen: Listen = "127.0.0.1:2222"
    public_host: str = Field("", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")
    public_port: int | None = Field(None, ge=1, le=65535)
    account: str = Field("", pattern=r"^([a-z_][a-z0-9_.-]*)?$")
    connections: int = Field(500, ge=1, le=4000)
    connections_per_session: int = Field(32, ge=1, le=1000)
    waiting: int = Field(100, ge=1, le=4000)
    drain_seconds: float = Field(0, ge=0, le=24 * 3600)


class TunnelSettings(Section):
    """Where machines dial in, of clouds with `reach = "tunnel"`: where their sshd listens, and the host and port that
    they dial (the host of web.public_url, and the port of `listen`, where nothing is said). Each is reached at an
    address of its own in `network`, which is the loopback's of that host, or routed to it."""

    listen: Listen = "127.0.0.1:2200"
    public_address: str = Field("", pattern=r"^([A-Za-z0-9._-]+:\d{1,5})?$")
    network: str = "127.80.0.0/16"

    @field_validator("network")
    @classmethod
    def _is_a_network(cls, value: str) -> str:
        try:
            prefix = IPv4Network(value).prefixlen
        except ValueError as error:
            raise ValueError(f"{error}; give one as 127.80.0.0/16") from None
        if not 8 <= prefix <= 28:
            raise ValueError("must be between /8 and /28")
        return value


class LeaseSettings(Section):
    """How long sessions live, in hours, and when to warn, in minutes before the end. `idle_hours` without input and
    load end a session too, `idle_warn_minutes` after a warning; without it, being idle ends none."""

    default_hours: float = Field(48, gt=0, le=24 * 366)
    maximum_hours: float = Field(168, gt=0, le=24 * 366)
    extend_hours: float = Field(24, gt=0, le=24 * 366)
    warn_minutes: tuple[float, ...] = (60, 10)
    idle_hours: float | None = Field(None, gt=0, le=24 * 366)
    idle_warn_minutes: float = Field(15, ge=1, le=24 * 60)


class LimitSettings(Section):
    """What one user may hold at a time; and for the queue, how many minutes of waiting outweigh a machine that one's
    group (divided by its share) or oneself holds already."""

    sessions_per_user: int = Field(3, ge=1, le=1000)
    minutes_per_machine: float = Field(5, gt=0, le=24 * 60)


class ReservationSettings(Section):
    """Reserved machines are vacant so many minutes before their time begins, and may be taken from then on."""

    margin_minutes: float = Field(15, ge=0, le=24 * 60)


class CourseSettings(Section):
    """Who may make courses besides administrators, and for how many seconds one look at a seat's desktop serves all
    pages that show it."""

    teacher_groups: tuple[str, ...] = ()
    picture_seconds: float = Field(4, ge=1, le=600)


class RecordingSettings(Section):
    """Where the recordings of support's windows are (in `state_dir` where nothing is said; gateways, web processes and
    managers on several hosts need one folder that all see), and for how many days they are kept."""

    dir: Path | None = None
    keep_days: float = Field(30, gt=0, le=3660)


class AllocationSettings(Section):
    """How much each rule counts where several pools with a vacant machine fit a wish; 0 is not at all.
    operators.md has an example."""

    gpus: float = Field(8, ge=0)
    near: float = Field(4, ge=0)
    health: float = Field(3, ge=0)
    prefer: float = Field(2, ge=0)
    size: float = Field(1, ge=0)
    cost: float = Field(0.5, ge=0)
    steady: float = Field(0.5, ge=0)
    vacancies: float = Field(0.1, ge=0)


class PoolTimes(Section):
    """How pools are kept, in seconds; `degraded_after` and `away_after` count failures. docs/settings.md says what each
    is of."""

    tick: float = Field(1.0, gt=0, le=60)
    list_every: float = Field(1.0, gt=0, le=600)
    probe_every: float = Field(300, ge=5)
    activity_every: float = Field(60, ge=5, le=240)
    build_timeout: float = Field(900, ge=5)
    configure_timeout: float = Field(1800, ge=10)
    attach_timeout: float = Field(30, ge=2)
    orphan_grace: float = Field(300, ge=1)
    retry_first: float = Field(5, gt=0)
    retry_longest: float = Field(600, gt=0)
    degraded_after: int = Field(3, ge=1)
    away_after: int = Field(3, ge=1)
    room_every: float = Field(60, gt=0)
    keep_failed: float = Field(600, ge=0)


class VmmSettings(Section):
    """The API of the Virtual Machine Manager that came before, for front ends that speak it; off unless `enabled`.

    `types` gives each pool that it offers the number by which its clients know that machine type, for ever.
    """

    enabled: bool = False
    prefix: str = Field("/vmm", pattern=r"^(/[a-z0-9._-]+)+$")
    types: dict[Annotated[int, Field(ge=1, le=999_999_999)], Name] = Field(default_factory=dict)
