"""From provisioned to ready for its probe: all roles, or on a machine of an up-to-date image only what is its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from broker.configuration import doors, identity, playbook
from broker.configuration.ssh import SshTarget
from broker.pools import images
from broker.pools.access import target
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.settings import Settings


def configure(runtime: Runtime, machine: Machine) -> None:
    """Make the machine one of its environment, and run the environment's own check on it.

    What an image is made of stands on the machine itself: only where that is what the roles are now are they left out.
    """
    settings, where = runtime.settings, target(machine)
    kind = (machine.environment, machine.cloud, machine.size, machine.pool)
    if machine.image is not None and identity.made_of(settings.state_dir, where) == images.made_of_today(
        settings, *kind
    ):
        identity.give(settings.state_dir, where)
    else:
        run_roles(settings, where, *kind)
    doors.lay(settings.state_dir, where)
    check(settings, where, *kind)


def run_roles(settings: Settings, where: SshTarget, environment: str, *place: str) -> None:
    """Run the environment's roles on the machine, which is of this cloud, size and pool."""
    variables = images.variables_of(settings, environment, *place)
    _play(settings, where, settings.roles_of(environment), variables, "machine.yml")


def check(settings: Settings, where: SshTarget, environment: str, *place: str) -> None:
    """Run the environment's own check, where it has one."""
    if role := check_of(settings, environment):
        _play(settings, where, (role,), images.variables_of(settings, environment, *place), "check.yml")


def check_of(settings: Settings, environment: str) -> str | None:
    """The role that checks the environment; a base has none."""
    return settings.environments[environment].check if environment in settings.environments else None


def _play(settings: Settings, where: SshTarget, roles: tuple[str, ...], variables: dict[str, Any], play: str) -> None:
    with tempfile.TemporaryDirectory(prefix="beamdesk-", dir=_ramdisk()) as folder:
        playbook.configure(
            settings.state_dir,
            where,
            roles=roles,
            variables=variables,
            folder=Path(folder),
            timeout=settings.times.configure_timeout,
            play=play,
        )


def _ramdisk() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a private folder is made in it
