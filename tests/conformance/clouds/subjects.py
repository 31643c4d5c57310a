"""The clouds that the promises are held against, and what each of them proves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from broker.clouds.adapter import MACHINE, BuildSpec
from broker.settings import CloudSettings
from tests.integration.localcloud.daemon import Daemon
from tests.peers import hypervisor
from tests.peers.ec2 import ec2
from tests.peers.openstack import openstack, processes_of
from tests.peers.wires import arm, gce, opennebula
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
    gpu_size: str  # one with one GPU, where it has such
    unknown: str = "00000000-0000-0000-0000-000000000000"  # a node's id that it never gave
    wire: Any = None  # what the other end keeps, where it is in this process

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


@contextmanager
def azure(_: Path) -> Iterator[Subject]:
    """The recorded wire of Azure's Resource Manager."""
    with arm.arm() as wire:
        options = {
            "tenant": "77777777-7777-7777-7777-777777777777",
            "subscription": arm.SUBSCRIPTION,
            "client_id": "broker",
            "client_secret": arm.SECRET,
            "region": "uksouth",
            "resource_group": "desktops",
            "subnet": arm.SUBNET,
        }
        settings = CloudSettings(
            name="azure", title="Azure", driver="azure", location="london", image="desktop-1", options=options
        )
        wrong = settings.model_copy(update={"name": "wrong", "options": {**options, "client_secret": "wrong"}})
        sizes = {"size": "Standard_B1s", "gpu_size": "Standard_NC4as_T4_v3"}
        yield Subject(settings, wrong, cores=1, unknown="nobody", wire=wire, **sizes)


@contextmanager
def google(folder: Path) -> Iterator[Subject]:
    """The recorded wire of Google Compute Engine."""
    with gce.gce() as wire:
        (folder / "key.json").write_text(gce.key_file())
        options = {"key_file": str(folder / "key.json"), "project": gce.PROJECT, "zone": gce.ZONE}
        settings = CloudSettings(
            name="google", title="Google", driver="gce", location="london", image="desktop-1", options=options
        )
        wrong = settings.model_copy(update={"name": "wrong", "options": {**options, "zone": "moon-1-a"}})
        yield Subject(settings, wrong, size="e2-micro", cores=1, gpu_size="g2-standard-4", unknown="nobody", wire=wire)


@contextmanager
def one(_: Path) -> Iterator[Subject]:
    """The recorded wire of OpenNebula."""
    with opennebula.opennebula() as (wire, endpoint):
        username, _, password = opennebula.SESSION.partition(":")
        options = {"endpoint": endpoint, "username": username, "password": password, "network": "desktops"}
        settings = CloudSettings(
            name="one", title="OpenNebula", driver="opennebula", location="lyon", image="desktop-1", options=options
        )
        wrong = settings.model_copy(update={"name": "wrong", "options": {**options, "password": "wrong"}})
        yield Subject(settings, wrong, size="small", cores=1, gpu_size="with-gpu", unknown="999999", wire=wire)


@contextmanager
def kvm(_: Path) -> Iterator[Subject]:
    """libvirt's own test driver."""
    with hypervisor.hypervisor() as uploaded:
        options = {"uri": hypervisor.URI, "pool": hypervisor.POOL, "sizes": "small:1:1:5", "type": "test"}
        settings = CloudSettings(
            name="kvm", title="KVM", driver="libvirt", location="ral", image="desktop-1", options=options
        )
        nobody = settings.model_copy(update={"name": "nobody", "options": {**options, "uri": "test:///nowhere.xml"}})
        yield Subject(settings, nobody, size="small", cores=1, gpu_size="", wire=uploaded)


def _venv(peer: str) -> Path:
    folder = ROOT / f".venv-{peer}"
    assert (folder / "bin/python").exists(), f"{folder.name} is missing: run `make peers`"
    return folder


SUBJECTS = {
    "local": local,
    "openstack": nova,
    "ec2": amazon,
    "azure": azure,
    "gce": google,
    "opennebula": one,
    "libvirt": kvm,
}


@dataclass(frozen=True)
class Proof:
    """What a subject is, for the documentation."""

    driver: str
    kind: Literal["real", "server", "wire"]
    against: str
    not_proved: str = ""


_WIRE = "the provider itself: nobody of theirs has seen these requests; guests"
PROOFS = {
    "local": Proof("beamdesk-local", "real", "its own daemon, with real machines"),
    "openstack": Proof(
        *("openstack", "real"),
        "Keystone 30, Placement 16, Glance 33, Neutron 29 and Nova 34, their own packages, with Nova's fake hypervisor",
        "guests: cloud-init, host keys on a console, SSH and the desktop on such a machine",
    ),
    "ec2": Proof(
        *("ec2", "server"),
        "Moto 5.2's EC2 server, with three corrections of its answers (tests/peers/ec2/serve.py says which)",
        "Amazon itself: capacity, boot times, client tokens, the console, long pages; guests",
    ),
    "azure": Proof("azure", "wire", "tests/peers/wires/arm.py, through Libcloud's driver", _WIRE),
    "gce": Proof("gce", "wire", "tests/peers/wires/gce.py, through Libcloud's driver", _WIRE),
    "opennebula": Proof(
        *("opennebula", "wire"),
        "tests/peers/wires/opennebula.py, through our own driver",
        f"{_WIRE}; OneGate",
    ),
    "libvirt": Proof(
        *("libvirt", "server"),
        "libvirt 9's own test driver; uploads and a guest's agent are fakes",
        "QEMU and KVM: disks, user-data, agents and guests; a remote host",
    ),
}
