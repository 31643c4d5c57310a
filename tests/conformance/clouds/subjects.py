"""The clouds that the promises are held against, each a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from broker.clouds.adapter import MACHINE, BuildSpec
from broker.settings import CloudSettings
from tests.integration.localcloud.daemon import Daemon
from tests.peers.ec2 import ec2
from tests.peers.openstack import openstack, processes_of
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
AUTHORITY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHdVgXQnBrGjFNzWcGeJ2dTBMyKVfwPYzp1PcDfBz5bA tests"


@dataclass(frozen=True)
class Subject:
    """A cloud under test: its settings, settings that it refuses, and what it has."""

    settings: CloudSettings
    strangers: CloudSettings
    size: str
    cores: int
    gpu_size: str  # one with one GPU
    unknown: str = "00000000-0000-0000-0000-000000000000"  # a node's id that it never gave

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
    with openstack(folder, _venv("openstack")) as cloud:
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


@contextmanager
def amazon(folder: Path) -> Iterator[Subject]:
    """Moto's EC2 server."""
    with ec2(folder, _venv("ec2")) as cloud:
        place = urlsplit(cloud.endpoint)
        driver: Any = get_driver(Provider.EC2)(
            *("key", "secret"),
            region=cloud.region,
            host=place.hostname,
            port=place.port,
            secure=False,
            signature_version="4",
        )
        image = driver.list_images(ex_owner="amazon")[0].id
        options = {
            "access_key": "key",
            "secret_key": "secret",
            "region": cloud.region,
            "subnet": driver.ex_list_subnets()[0].id,
            "endpoint": cloud.endpoint,
        }
        settings = CloudSettings(
            name="aws", title="Amazon", driver="ec2", location="virginia", image=image, options=options
        )
        nobody = {**options, "endpoint": f"http://127.0.0.1:{free_port('127.0.0.1')}"}
        wrong = settings.model_copy(update={"name": "wrong", "options": nobody})
        yield Subject(settings, wrong, size="t3.micro", cores=2, gpu_size="g4dn.xlarge", unknown="i-0123456789abcdef0")


def _venv(peer: str) -> Path:
    folder = ROOT / f".venv-{peer}"
    assert (folder / "bin/python").exists(), f"{folder.name} is missing: run `make peers`"
    return folder


SUBJECTS = {"local": local, "openstack": nova, "ec2": amazon}
