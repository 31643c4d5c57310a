"""The tables of beamdesk.toml of which there are many, by name: [clouds.NAME], [pools.NAME] and such."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from broker.settings.policies import Policy
from broker.settings.section import Name, Section

CloudDriver = Literal["azure", "beamdesk-local", "ec2", "gce", "libvirt", "opennebula", "openstack"]
Share = Annotated[float, Field(gt=0, le=1_000_000)]
Architecture = Literal["x86_64", "aarch64"]


class QuotaSettings(Section):
    """What a group may hold at a time as a whole; nothing said is no limit."""

    sessions: int | None = Field(None, ge=0)
    cores: int | None = Field(None, ge=0)
    gpus: int | None = Field(None, ge=0)


class CloudSettings(Section):
    """One account at one provider in one location; every call of it is given up after `timeout` seconds of silence,
    and its machines are listed each `list_every` seconds (`times.list_every` where it does not say). With
    `reach = "tunnel"` nobody can reach its machines, and they dial in (`[tunnels]`)."""

    name: Name
    title: str
    driver: CloudDriver
    location: str
    image: str
    reach: Literal["direct", "tunnel"] = "direct"
    concurrent_builds: int = Field(4, ge=1, le=1000)
    timeout: float = Field(30, gt=0, le=600)
    list_every: float | None = Field(None, gt=0, le=3600)
    options: dict[str, str] = Field(default_factory=dict)
    properties: dict[str, str] = Field(default_factory=dict)


class SizeSettings(Section):
    """What a machine has. `ids` maps a cloud to its own name of this size where that differs."""

    name: Name
    cores: int = Field(ge=1, le=1024)
    memory_gb: float = Field(gt=0, le=65536)
    gpus: int = Field(0, ge=0, le=64)
    gpu_model: str = ""
    architecture: Architecture = "x86_64"
    ids: dict[Name, str] = Field(default_factory=dict)
    properties: dict[str, str] = Field(default_factory=dict)

    def id_in(self, cloud: str) -> str:
        """The cloud's own name of this size."""
        return self.ids.get(cloud, self.name)


class SharedBaseSettings(Section):
    """What several environments have in common. Pools of it keep machines that become any of theirs when one is short;
    users never see it. Its `roles` bring a desktop, as an environment's do: it is probed, too."""

    name: Name
    title: str
    roles: tuple[Name, ...]


class EnvironmentSettings(Section):
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
    properties: dict[str, str] = Field(default_factory=dict)
    check: Name | None = None  # a role that fails where a configured machine is not as it should be
    base: Name | None = None
    policy: Policy = Policy()

    def open_to(self, groups: frozenset[str]) -> bool:
        """Whether somebody with these groups may launch it; no groups named means everybody."""
        return not self.groups or not groups.isdisjoint(self.groups)


class PoolSettings(Section):
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
    wait_chance: float = Field(0.01, ge=1e-6, lt=1)
    most_vacant: int | None = Field(None, ge=0, le=10000)
    worth_hours: float | None = Field(None, gt=0)
    properties: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bounds_hold_target(self) -> PoolSettings:
        for key, bound in (("limit", self.limit), ("most_vacant", self.most_vacant)):
            if bound is not None and bound < self.target:
                raise ValueError(f"{key} must be at least target ({self.target})")
        return self


class AccountSettings(Section):
    """A local account that `beamdesk demo` makes; its password is no secret."""

    name: Name
    full_name: str
    password: str = Field(min_length=4)
    role: Literal["user", "support", "operator", "admin", "service"] = "user"
    groups: tuple[str, ...] = ()
