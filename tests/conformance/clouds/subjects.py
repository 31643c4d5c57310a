"""The clouds that the promises are held against, each a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.clouds.adapter import MACHINE, BuildSpec
from broker.settings import CloudSettings
from tests.integration.localcloud.daemon import Daemon
from tests.peers.openstack import openstack, processes_of

VENV = Path(__file__).parents[3] / ".venv-openstack"
AUTHORITY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHdVgXQnBrGjFNzWcGeJ2dTBMyKVfwPYzp1PcDfBz5bA tests"


@dataclass(frozen=True)
class Subject:
    """A cloud under test: its settings, settings that it refuses, and what it has."""

    settings: CloudSettings
    strangers: CloudSettings
    size: str
    cores: int
    gpu_size: str  # one with one GPU

    def spec(self, name: str, deployment: str = "conformance", **changes: str) -> BuildSpec:
        """A good request for a machine of this deployment."""
        values = {"size_id": self.size, "image_id": self.settings.image, "request_id": f"{deployment}-{name}"}
        tags = {"beamdesk-deployment": deployment, MACHINE: name}
        return BuildSpec(name=name, tags=tags, ssh_ca=AUTHORITY, **{**values, **changes})


@contextmanager
def local(folder: Path) -> Iterator[Subject]:
    """The embedded cloud's daemon."""
    with closing(Daemon(folder, "10.231.51.0/26").start()) as daemon:
        settings = CloudSettings(
            name="local",
            title="Harwell",
            driver="beamdesk-local",
            location="ral",
            image="host",
            options={"socket": str(daemon.socket)},
        )
        nobody = settings.model_copy(update={"name": "nobody", "options": {"socket": str(folder / "nobody.sock")}})
        yield Subject(settings, nobody, size="small", cores=1, gpu_size="with-gpu")


@contextmanager
def nova(folder: Path) -> Iterator[Subject]:
    """A real OpenStack, whose hypervisor alone is a fake."""
    assert (VENV / "bin/python").exists(), "OpenStack is not installed: run `make peers`"
    with openstack(folder, VENV) as cloud:
        options = {
            "auth_url": cloud.auth_url,
            "region": cloud.region,
            "username": cloud.username,
            "password": cloud.password,
            "project": cloud.project,
            "domain": cloud.domain,
            "network": "net1",
        }
        settings = CloudSettings(
            name="stfc", title="STFC", driver="openstack", location="ral", image="desktop-1", options=options
        )
        wrong = settings.model_copy(update={"name": "wrong", "options": {**options, "password": "wrong"}})
        yield Subject(settings, wrong, size="m1.tiny", cores=1, gpu_size="g1.large")
    assert not processes_of(folder), "something of it is left"


SUBJECTS = {"local": local, "openstack": nova}
