"""An environment's image: baked, tried on one machine, and built from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.clouds.adapter import open_cloud
from broker.configuration import ssh
from broker.database import Base
from broker.pools import bake, configure, images, jobs
from broker.pools.access import target
from broker.pools.images import Image, ImageState
from broker.pools.manager import PoolManager
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime, open_runtime
from broker.settings import Settings
from tests.integration.machine.lab import Lab
from tests.waiting import until

SETTINGS = """
deployment = "images"
state_dir = "{state}"
redis = {{ url = "{redis}" }}
times = {{ list_every = 0.01 }}
[clouds.here]
title = "Here"
driver = "beamdesk-local"
location = "here"
image = "debian"
options = {{ socket = "{socket}" }}
[sizes.small]
cores = 2
memory_gb = 2
[environments.light]
title = "Light desktop"
description = "A terminal."
roles = ["light"]
[pools.light]
environment = "light"
size = "small"
cloud = "here"
target = 0
limit = 3
"""
M = MachineState
WORK = {M.REQUESTED: jobs.build_machine, M.CONFIGURING: jobs.configure_machine, M.DELETING: jobs.destroy_machine}


@pytest.fixture
def runtime(lab: Lab, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A deployment whose one cloud is the lab's; its machines and images are removed afterwards."""
    config = tmp_path / "beamdesk.toml"
    config.write_text(SETTINGS.format(state=lab.state_dir, redis=redis_url, socket=lab.socket))
    monkeypatch.setenv("BEAMDESK_CONFIG", str(config))
    opened = open_runtime(Settings())
    Base.metadata.create_all(opened.database.engine)
    monkeypatch.setattr(jobs, "current", lambda: opened)
    yield opened
    cloud = open_cloud(opened.settings.clouds["here"])
    for node in cloud.list_ours("images"):
        cloud.destroy(node.id)
    until(lambda: all(node.state == "gone" for node in cloud.list_ours("images")), "the machines to go")
    for image in cloud.images():
        if image.name.startswith("images-"):
            cloud.delete_image(image.id)
    opened.database.close()


def work(runtime: Runtime, manager: PoolManager) -> list[Machine]:
    """One pass of the manager, and of a worker on what it found; the machines."""
    manager.tend({})
    with runtime.database.reading() as db:
        machines = list(db.scalars(select(Machine)))
    for machine in machines:
        if (job := WORK.get(M(machine.state))) and (machine.work_until is None):
            job(machine.id, machine.attempt)
    with runtime.database.reading() as db:
        return list(db.scalars(select(Machine)))


def test_a_baked_image_is_tried_on_one_machine_and_then_built_from(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine runs no roles, and has keys of its own; the machine that it was baked on is gone."""
    steps = {finding.step: finding for finding in bake.bake(runtime, "light", "here")}
    assert all(step.good for step in steps.values()), steps
    assert steps["remove"].said == "nothing is left"
    monkeypatch.setattr(configure, "run_roles", lambda *_: pytest.fail("the roles ran again"))
    manager = PoolManager(runtime)
    canary: list[Machine] = []

    def passed() -> bool:
        machines = work(runtime, manager)
        assert not [machine.failure for machine in machines if machine.failure]
        canary.extend(machine for machine in machines if machine.state == M.VACANT)
        return bool(canary)

    until(passed, "the canary to be vacant")
    with runtime.database.reading() as db:
        image = db.scalars(select(Image)).one()
    assert (image.state, canary[0].image) == (ImageState.CANARY, image.id)
    where = target(canary[0])
    look = "stat -c %a:%U /etc/beamdesk/rdp-key.pem; ssh-keygen -L -f /etc/ssh/beamdesk-host-cert.pub"
    said = ssh.run(runtime.settings.state_dir, where, ["sh", "-c", look]).stdout.decode()
    assert "600:xrdp" in said
    assert where.name in said

    def in_use() -> bool:
        manager.tend({})
        with runtime.database.reading() as db:
            return images.active(db, "light", "here") is not None

    until(in_use, "the image to be active")
    assert image.image_id in {each.id for each in open_cloud(runtime.settings.clouds["here"]).images()}
