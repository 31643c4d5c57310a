"""All of beamdesk.toml: its tables, and what must hold between them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import PrivateAttr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from broker.errors import BadSettings
from broker.settings.entries import (
    AccountSettings,
    CloudSettings,
    EnvironmentSettings,
    PoolSettings,
    QuotaSettings,
    Share,
    SharedBaseSettings,
    SizeSettings,
)
from broker.settings.identity import IdentitySettings
from broker.settings.policies import PolicySettings
from broker.settings.section import Name, listed
from broker.settings.sections import (
    AllocationSettings,
    CourseSettings,
    DatabaseSettings,
    GatewaySettings,
    LeaseSettings,
    LimitSettings,
    PoolTimes,
    RdpSettings,
    RecordingSettings,
    RedisSettings,
    ReservationSettings,
    SshSettings,
    TunnelSettings,
    VmmSettings,
    WebSettings,
)


def path() -> Path:
    """Where the settings are: BEAMDESK_CONFIG, or beamdesk.toml in the working directory."""
    return Path(os.environ.get("BEAMDESK_CONFIG", "beamdesk.toml"))


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
    rdp: RdpSettings = RdpSettings()
    ssh: SshSettings = SshSettings()
    tunnels: TunnelSettings = TunnelSettings()
    leases: LeaseSettings = LeaseSettings()
    limits: LimitSettings = LimitSettings()
    shares: dict[str, Share] = {}
    quotas: dict[str, QuotaSettings] = {}
    reservations: ReservationSettings = ReservationSettings()
    courses: CourseSettings = CourseSettings()
    recordings: RecordingSettings = RecordingSettings()
    allocation: AllocationSettings = AllocationSettings()
    times: PoolTimes = PoolTimes()
    clouds: dict[Name, CloudSettings] = {}
    sizes: dict[Name, SizeSettings] = {}
    bases: dict[Name, SharedBaseSettings] = {}
    environments: dict[Name, EnvironmentSettings] = {}
    policies: dict[Name, PolicySettings] = {}
    pools: dict[Name, PoolSettings] = {}
    accounts: dict[Name, AccountSettings] = {}
    identity: IdentitySettings = IdentitySettings()
    vmm: VmmSettings = VmmSettings()
    _leaving: frozenset[str] = PrivateAttr(frozenset())

    @model_validator(mode="before")
    @classmethod
    def _names_from_keys(cls, values: dict[str, Any]) -> dict[str, Any]:
        for table in ("clouds", "sizes", "bases", "environments", "policies", "pools", "accounts"):
            entries = values.get(table)
            if isinstance(entries, dict):
                values[table] = {k: {"name": k, **v} if isinstance(v, dict) else v for k, v in entries.items()}
        return values

    @model_validator(mode="after")
    def _references_exist(self) -> Settings:
        wrong = [
            f"pools.{pool.name}.{key} = {getattr(pool, key)!r}: no such {key}; there are {listed(known)}"
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
            f"vmm.types.{number} = {pool!r}: no such pool; there are {listed(self.pools)}"
            for number, pool in self.vmm.types.items()
            if pool not in self.pools
        ]
        wrong += [
            f"environments.{e.name}.base = {e.base!r}: no such base; there are {listed(self.bases)}"
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
    def rdp_address(self) -> str:
        """The host and port that .rdp files name."""
        here = f"{urlsplit(self.web.public_url).hostname}:{self.rdp.listen.rpartition(':')[2]}"
        return self.rdp.public_address or here

    @property
    def ssh_address(self) -> tuple[str, int]:
        """The SSH gateway's public host and port, with the defaults filled in."""
        host = self.ssh.public_host or urlsplit(self.web.public_url).hostname or "localhost"
        return host, self.ssh.public_port or int(self.ssh.listen.rsplit(":", 1)[1])

    @property
    def tunnels_address(self) -> str:
        """The host and port that machines dial, with the defaults filled in."""
        here = f"{urlsplit(self.web.public_url).hostname}:{self.tunnels.listen.rpartition(':')[2]}"
        return self.tunnels.public_address or here

    @property
    def ssh_account(self) -> str:
        """The account that SSH clients name at the gateway, with the default filled in."""
        try:
            return self.ssh.account or pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            raise BadSettings(
                f"ssh.account: the system knows no account with the number {os.getuid()}.",
                hint="Say in ssh.account as which account the SSH gateway runs.",
            ) from None

    @property
    def recordings_dir(self) -> Path:
        """The folder of recordings; only the broker's own account may read it."""
        return (self.recordings.dir or self.state_dir / "recordings").absolute()

    @property
    def secrets_dir(self) -> Path:
        """The folder of keys; only the broker's own account may read it."""
        return self.state_dir.absolute() / "secrets"
