"""Real machines for the tests: built by the local cloud, configured by Ansible, and gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.configuration import doors, identity, playbook, ssh
from tests.integration.machine.desk import UID, USER, Desk
from tests.integration.machine.lab import Lab


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield lab
    finally:
        ssh.close_all(lab.state_dir)
        lab.close()


def configured(lab: Lab, folder: Path, role: str, volume: str = "") -> Desk:
    """A new machine of this environment's image, with our user's home on it: the volume's, or a new one."""
    if role not in lab.images:
        _bake(lab, folder, role)
    target = lab.build(lab.images[role])
    desk = Desk(lab.state_dir, target, volume or f"home-of-{target.name}")
    identity.give(lab.state_dir, target)
    doors.lay(lab.state_dir, target)
    lab.give_home(target, USER, UID, desk.volume)
    return desk


def _bake(lab: Lab, folder: Path, role: str) -> None:
    """Configure a machine and keep what was made of it, as the broker does: to configure each takes four times longer
    than to build it of that."""
    target = lab.build()
    playbook.configure(lab.state_dir, target, roles=[role], variables={}, folder=folder, timeout=120)
    identity.take(lab.state_dir, target, role)
    lab.save(target, role)
    lab.destroy(target)


@pytest.fixture
def fresh(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes machines of an environment for one test alone: fresh(role, volume="")."""
    made: list[Desk] = []

    def make(role: str, volume: str = "") -> Desk:
        made.append(configured(lab, tmp_path, role, volume))
        return made[-1]

    yield make
    for desk in made:
        lab.destroy(desk.target)


def _shared(role: str) -> Callable[..., object]:
    @pytest.fixture(scope="module")
    def desk(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
        desk = configured(lab, tmp_path_factory.mktemp(role), role)
        yield desk
        lab.destroy(desk.target)

    return desk


light = _shared("light")
science = _shared("science")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These tests make machines, and only root can."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.machines)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="makes machines, which needs root"))
