"""The one place that reads beamdesk.toml and BEAMDESK_* from the environment.

`load(config)` returns a frozen Settings or raises BadSettings, whose message names each wrong key, its value and
what is allowed. BEAMDESK_CONFIG names the file (beamdesk.toml in the working directory otherwise); any single
value can be given by the environment, as BEAMDESK_LIMITS__SESSIONS_PER_USER=5.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from broker.errors import BadSettings

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Listen = Annotated[str, StringConstraints(pattern=r"^[^:\s]+:\d{1,5}$")]
CloudDriver = Literal["azure", "beamdesk-local", "ec2", "gce", "libvirt", "opennebula", "openstack"]
Share = Annotated[float, Field(gt=0, le=1_000_000)]
Architecture = Literal["x86_64", "aarch64"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(_Section):
    """Where the truth is kept: an SQLAlchemy URL, SQLite or PostgreSQL. Empty: SQLite in the state directory."""

    url: str = ""


class RedisSettings(_Section):
    """Redis for queues and live pages; a hint only, never the truth. Empty: a socket in the state directory."""

    url: str = ""


class WebSettings(_Section):
    """The portal and API. `requests_per_minute` is for each user, and for each address where nobody is signed in."""

    listen: Listen = "127.0.0.1:8080"
    public_url: str = Field("http://localhost:8080", pattern=r"^https?://[^/]+$")
    threads: int = Field(64, ge=8, le=1000)
    sign_in_hours: float = Field(12, gt=0, le=24 * 30)
    live_sockets: int = Field(32, ge=1, le=900)
    live_sockets_per_user: int = Field(8, ge=1, le=100)
    requests_per_minute: int = Field(3000, ge=60, le=1_000_000)

    @model_validator(mode="after")
    def _threads_left_for_pages(self) -> WebSettings:
        if self.live_sockets > self.threads * 3 // 4:
            raise ValueError(f"live_sockets must be at most three quarters of threads ({self.threads * 3 // 4})")
        return self


class GatewaySettings(_Section):
    """The browser gateway: where it listens, and the address that pages are told (on the portal's own host, because
    browsers send their sign-in nowhere else); how many desktops it carries at once, in all and of one session; and
    for how many seconds after SIGTERM it waits for open ones, where they would die with it (in a container)."""

    listen: Listen = "127.0.0.1:6080"
    public_url: str = Field("ws://localhost:6080", pattern=r"^wss?://[^/]+$")
    ticket_seconds: int = Field(60, ge=5, le=600)
    connections: int = Field(500, ge=1, le=30000)
    connections_per_session: int = Field(8, ge=1, le=1000)
    drain_seconds: float = Field(0, ge=0, le=24 * 3600)


class LeaseSettings(_Section):
    """How long sessions live, in hours, and when to warn, in minutes before the end. `idle_hours` without input and
    load end a session too, `idle_warn_minutes` after a warning; without it, being idle ends none."""

    default_hours: float = Field(48, gt=0, le=24 * 366)
    maximum_hours: float = Field(168, gt=0, le=24 * 366)
    extend_hours: float = Field(24, gt=0, le=24 * 366)
    warn_minutes: tuple[float, ...] = (60, 10)
    idle_hours: float | None = Field(None, gt=0, le=24 * 366)
    idle_warn_minutes: float = Field(15, ge=1, le=24 * 60)


class LimitSettings(_Section):
    """What one user may hold at a time; and for the queue, how many minutes of waiting outweigh a machine that one's
    group (divided by its share) or oneself holds already."""

    sessions_per_user: int = Field(3, ge=1, le=1000)
    minutes_per_machine: float = Field(5, gt=0, le=24 * 60)


class ReservationSettings(_Section):
    """Reserved machines are vacant so many minutes before their time begins, and may be taken from then on."""

    margin_minutes: float = Field(15, ge=0, le=24 * 60)


class CourseSettings(_Section):
    """Who may make courses besides administrators, and for how many seconds one look at a seat's desktop serves all
    pages that show it."""

    teacher_groups: tuple[str, ...] = ()
    picture_seconds: float = Field(4, ge=1, le=600)


class AllocationSettings(_Section):
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


class QuotaSettings(_Section):
    """What a group may hold at a time as a whole; nothing said is no limit."""

    sessions: int | None = Field(None, ge=0)
    cores: int | None = Field(None, ge=0)
    gpus: int | None = Field(None, ge=0)


class PoolTimes(_Section):
    """How pools are kept, in seconds unless the name says otherwise."""

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


class CloudSettings(_Section):
    """One account at one provider in one location; every call of it is given up after `timeout` seconds of silence,
    and its machines are listed each `list_every` seconds (`times.list_every` where it does not say)."""

    name: Name
    title: str
    driver: CloudDriver
    location: str
    image: str
    concurrent_builds: int = Field(4, ge=1, le=1000)
    timeout: float = Field(30, gt=0, le=600)
    list_every: float | None = Field(None, gt=0, le=3600)
    options: dict[str, str] = {}
    properties: dict[str, str] = {}


class SizeSettings(_Section):
    """What a machine has. `ids` maps a cloud to its own name of this size where that differs."""

    name: Name
    cores: int = Field(ge=1, le=1024)
    memory_gb: float = Field(gt=0, le=65536)
    gpus: int = Field(0, ge=0, le=64)
    gpu_model: str = ""
    architecture: Architecture = "x86_64"
    ids: dict[Name, str] = {}
    properties: dict[str, str] = {}

    def id_in(self, cloud: str) -> str:
        """The cloud's own name of this size."""
        return self.ids.get(cloud, self.name)


class SharedBaseSettings(_Section):
    """What several environments have in common. Pools of it keep machines that become any of theirs when one is short;
    users never see it. Its `roles` bring a desktop, as an environment's do: it is probed, too."""

    name: Name
    title: str
    roles: tuple[Name, ...]


class EnvironmentSettings(_Section):
    """What a user picks. `sessions` and `sessions_per_user` limit how many run or wait at a time. Its own hours and
    minutes go before those of [leases]; `idle_hours = 0` is never. With `base` its own `roles` are those that it has
    beyond that base's."""

    name: Name
    title: str
    description: str
    icon: str = "desktop"
    groups: tuple[str, ...] = ()
    roles: tuple[Name, ...]
    lease_hours: float | None = Field(None, gt=0)
    sessions: int | None = Field(None, ge=0)
    sessions_per_user: int | None = Field(None, ge=1)
    idle_hours: float | None = Field(None, ge=0, le=24 * 366)
    idle_warn_minutes: float | None = Field(None, ge=1, le=24 * 60)
    properties: dict[str, str] = {}
    check: Name | None = None  # a role that fails where a configured machine is not as it should be
    base: Name | None = None

    def open_to(self, groups: frozenset[str]) -> bool:
        """Whether somebody with these groups may launch it; no groups named means everybody."""
        return not self.groups or not groups.isdisjoint(self.groups)


class PoolSettings(_Section):
    """Machines of one environment (or base) and size in one cloud: `target` vacant ones kept, `limit` in all. `groups`
    are those that it is open to, none for all; `cost` is of a machine's hour, in a unit of yours; `preemptible` ones
    may be taken away by their cloud.

    With `sizing = "demand"` as many are kept vacant as expected launches and measured build times ask for, so that a
    launch has to wait with at most `wait_chance`: at least `target`, at most `most_vacant`, and no machine that costs
    more than `worth_hours` machine hours for each launch that it spares a wait.
    """

    name: Name
    environment: Name
    size: Name
    cloud: Name
    target: int = Field(ge=0, le=10000)
    limit: int = Field(ge=0, le=10000)
    groups: tuple[str, ...] = ()
    cost: float = Field(0, ge=0)
    preemptible: bool = False
    sizing: Literal["fixed", "demand"] = "fixed"
    wait_chance: float = Field(0.01, gt=0, lt=1)
    most_vacant: int | None = Field(None, ge=0, le=10000)
    worth_hours: float | None = Field(None, gt=0)
    properties: dict[str, str] = {}

    @model_validator(mode="after")
    def _bounds_hold_target(self) -> PoolSettings:
        for key, bound in (("limit", self.limit), ("most_vacant", self.most_vacant)):
            if bound is not None and bound < self.target:
                raise ValueError(f"{key} must be at least target ({self.target})")
        return self


class VmmSettings(_Section):
    """The API of the Virtual Machine Manager that came before, for front ends that speak it; off unless `enabled`.

    `types` gives each pool that it offers the number by which its clients know that machine type, for ever.
    """

    enabled: bool = False
    prefix: str = Field("/vmm", pattern=r"^(/[a-z0-9._-]+)+$")
    types: dict[Annotated[int, Field(ge=1, le=999_999_999)], Name] = {}


class AccountSettings(_Section):
    """A local account that `beamdesk demo` makes; its password is no secret."""

    name: Name
    full_name: str
    password: str = Field(min_length=4)
    role: Literal["user", "support", "operator", "admin", "service"] = "user"
    groups: tuple[str, ...] = ()


class Settings(BaseSettings):
    """Everything that beamdesk.toml may say."""

    model_config = SettingsConfigDict(
        env_prefix="BEAMDESK_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    deployment: Name = "beamdesk"
    title: str = "Beamdesk"
    state_dir: Path = Path("var")
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    web: WebSettings = WebSettings()
    gateway: GatewaySettings = GatewaySettings()
    leases: LeaseSettings = LeaseSettings()
    limits: LimitSettings = LimitSettings()
    shares: dict[str, Share] = {}
    quotas: dict[str, QuotaSettings] = {}
    reservations: ReservationSettings = ReservationSettings()
    courses: CourseSettings = CourseSettings()
    allocation: AllocationSettings = AllocationSettings()
    times: PoolTimes = PoolTimes()
    clouds: dict[Name, CloudSettings] = {}
    sizes: dict[Name, SizeSettings] = {}
    bases: dict[Name, SharedBaseSettings] = {}
    environments: dict[Name, EnvironmentSettings] = {}
    pools: dict[Name, PoolSettings] = {}
    accounts: dict[Name, AccountSettings] = {}
    vmm: VmmSettings = VmmSettings()
    _leaving: frozenset[str] = PrivateAttr(frozenset())

    @model_validator(mode="before")
    @classmethod
    def _names_from_keys(cls, values: dict[str, Any]) -> dict[str, Any]:
        for table in ("clouds", "sizes", "bases", "environments", "pools", "accounts"):
            entries = values.get(table)
            if isinstance(entries, dict):
                values[table] = {k: {"name": k, **v} if isinstance(v, dict) else v for k, v in entries.items()}
        return values

    @model_validator(mode="after")
    def _references_exist(self) -> Settings:
        wrong = [
            f"pools.{pool.name}.{key} = {getattr(pool, key)!r}: no such {key}; there are {_listed(known)}"
            for pool in self.pools.values()
            for key, known in (
                ("environment", {**self.environments, **self.bases}),
                ("size", self.sizes),
                ("cloud", self.clouds),
            )
            if getattr(pool, key) not in known
        ]
        wrong += [
            f"environments.{e.name}.lease_hours = {e.lease_hours}: at most leases.maximum_hours"
            for e in self.environments.values()
            if (e.lease_hours or 0) > self.leases.maximum_hours
        ]
        wrong += [
            f"vmm.types.{number} = {pool!r}: no such pool; there are {_listed(self.pools)}"
            for number, pool in self.vmm.types.items()
            if pool not in self.pools
        ]
        wrong += [
            f"environments.{e.name}.base = {e.base!r}: no such base; there are {_listed(self.bases)}"
            for e in self.environments.values()
            if e.base is not None and e.base not in self.bases
        ]
        wrong += [f"bases.{name}: an environment has this name" for name in self.bases if name in self.environments]
        if urlsplit(self.gateway.public_url).hostname != urlsplit(self.web.public_url).hostname:
            wrong.append(f"gateway.public_url = {self.gateway.public_url!r}: must be on the host of web.public_url")
        if self.leases.default_hours > self.leases.maximum_hours:
            wrong.append(f"leases.default_hours = {self.leases.default_hours}: at most leases.maximum_hours")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    @model_validator(mode="after")
    def _idle_warnings_fit(self) -> Settings:
        rules = {"leases": self.idle_times(None)}
        rules |= {f"environments.{name}": self.idle_times(name) for name in self.environments}
        wrong = [
            f"{where}.idle_warn_minutes = {warning * 60:g}: must be less than idle_hours = {hours:g}"
            for where, (hours, warning) in rules.items()
            if hours and warning >= hours
        ]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def idle_times(self, environment: str | None) -> tuple[float | None, float]:
        """After how many hours without use its sessions end (None or 0 is never), and how many before they are warned.

        What the environment does not say, or where there is none of that name, [leases] says.
        """
        own = self.environments.get(environment) if environment is not None else None
        hours = own.idle_hours if own and own.idle_hours is not None else self.leases.idle_hours
        minutes = own.idle_warn_minutes if own and own.idle_warn_minutes is not None else self.leases.idle_warn_minutes
        return hours, minutes / 60

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code comes first, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path())

    @property
    def leaving(self) -> frozenset[str]:
        """Clouds that are no longer in the file, and are kept for the machines that are still there."""
        return self._leaving

    def without(self, clouds: Iterable[str]) -> Settings:
        """These settings, with those clouds leaving."""
        self._leaving = frozenset(clouds)
        return self

    def properties_of(self, cloud: str, size: str, environment: str, pool: str) -> dict[str, str]:
        """What is known of such a machine by key, whatever of these there still is; the pool's word counts most."""
        parts = (
            self.clouds.get(cloud),
            self.sizes.get(size),
            self.environments.get(environment),
            self.pools.get(pool),
        )
        return {key: value for part in parts if part is not None for key, value in part.properties.items()}

    def roles_of(self, name: str) -> tuple[str, ...]:
        """All roles of an environment, its base's first; or of a base."""
        if name in self.bases:
            return self.bases[name].roles
        environment = self.environments[name]
        return (*(self.bases[environment.base].roles if environment.base else ()), *environment.roles)

    def title_of(self, name: str) -> str:
        """What an environment, or a base, is called."""
        return self.bases[name].title if name in self.bases else self.environments[name].title

    @property
    def database_url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database.url or f"sqlite:///{self.state_dir.absolute()}/beamdesk.sqlite3"

    @property
    def redis_url(self) -> str:
        """Redis's URL, with the default filled in."""
        return self.redis.url or f"unix://{self.state_dir.absolute()}/run/redis.sock"

    @property
    def secrets_dir(self) -> Path:
        """The folder of keys; only the broker's own account may read it."""
        return self.state_dir.absolute() / "secrets"


def path() -> Path:
    """Where the settings are: BEAMDESK_CONFIG, or beamdesk.toml in the working directory."""
    return Path(os.environ.get("BEAMDESK_CONFIG", "beamdesk.toml"))


def load(config: Path | None = None) -> Settings:
    """Read and check the settings from `config`, or from where BEAMDESK_CONFIG says."""
    config = config or path()
    if not config.is_file():
        raise BadSettings(
            f"There is no settings file {config}.",
            hint="Set BEAMDESK_CONFIG, or start in the folder of beamdesk.toml.",
        )
    os.environ["BEAMDESK_CONFIG"] = str(config)
    try:
        _refuse_unknown_environment(os.environ)
        return Settings()
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{config} is not valid TOML: {error}.", hint="Mend the line that it names.") from None
    except ValidationError as error:
        raise BadSettings(_explain(config, error), hint="Mend these keys; docs/settings.md lists them all.") from None


def _refuse_unknown_environment(environment: Mapping[str, str]) -> None:
    known = {"BEAMDESK_CONFIG", *(f"BEAMDESK_{field.upper()}" for field in Settings.model_fields)}
    for name in environment:
        if name.startswith("BEAMDESK_") and name.split("__")[0] not in known:
            raise BadSettings(f"{name} in the environment is no setting.", hint=f"Known: {_listed(sorted(known))}.")


def _explain(config: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(f"{config}: {key}: no such key{_allowed_keys(problem['loc'])}")
        elif not key:
            lines += [f"{config}: {line}" for line in message.splitlines()]
        elif problem["type"] == "missing":
            lines.append(f"{config}: {key}: is missing")
        else:
            given = "" if isinstance(problem["input"], dict) else f" = {problem['input']!r}"
            lines.append(f"{config}: {key}{given}: {_plain(message)}")
    return "\n".join(lines)


def _plain(message: str) -> str:
    return message.replace("Input should be", "must be").replace("String should match pattern", "must match")


def _allowed_keys(location: tuple[int | str, ...]) -> str:
    model: Any = Settings
    for part in location[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            annotation: Any = field.annotation if field else None
            inner = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
            model = inner[0] if inner else annotation
            if inner and len(location) > 2 and part == location[0]:
                break
    if isinstance(model, type) and issubclass(model, BaseModel):
        return f"; allowed: {_listed(sorted(model.model_fields))}"
    return ""


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
