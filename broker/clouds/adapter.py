"""What the broker asks of a cloud: build, look up, list ours, destroy, and what it has to offer.

There is one cloud object for each cloud and thread, because Libcloud's drivers keep the last answer on the driver.
Nothing is retried here: a build is asked for again under the same request id, by the manager.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from agents.protocol import SSH_PORT
from broker.settings import CloudSettings

NodePhase = Literal["building", "running", "deleting", "gone", "failed"]
PRINCIPAL = "beamdesk-broker"  # whom certificates of the broker's authority name; he may log in to its machines
# The tags of a node of ours
DEPLOYMENT, CLOUD = "beamdesk-deployment", "beamdesk-cloud"
MACHINE, REQUEST = "beamdesk-machine", "beamdesk-request"


@dataclass(frozen=True)
class CloudNode:
    """A node as its cloud describes it; `host_key` is the SSH key that the cloud vouches for. Of one that dials out,
    `address` and `ssh_port` are of our end."""

    id: str
    name: str
    state: NodePhase
    address: str | None
    host_key: str | None
    tags: Mapping[str, str]
    error: str | None = None
    ssh_port: int = SSH_PORT


@dataclass(frozen=True)
class Dial:
    """What a machine is told that dials out: where to (host:port), and ssh's files for it, by their path. No secret."""

    to: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class BuildSpec:
    """What to build; `ssh_ca` may log in to it, and the same `request_id` never builds twice. Nobody reaches it who is
    not dialled by it, where there is a `dial`."""

    name: str
    size_id: str
    image_id: str
    tags: Mapping[str, str]
    ssh_ca: str
    request_id: str
    dial: Dial | None = None


@dataclass(frozen=True)
class CloudSize:
    """What a node may have, under the cloud's own id and name for it."""

    id: str
    name: str
    cores: int
    memory_gb: float
    disk_gb: float
    gpus: int = 0
    gpu_model: str = ""


@dataclass(frozen=True)
class CloudImage:
    """What a node may run."""

    id: str
    name: str


@dataclass(frozen=True)
class Room:
    """What the cloud would still let us have; None where it sets no limit, or does not say."""

    nodes: int | None = None
    cores: int | None = None
    memory_gb: float | None = None


class Cloud(Protocol):
    """One account at one provider in one location."""

    def build(self, spec: BuildSpec) -> CloudNode:
        """Begin a node; it runs some time later."""

    def list_ours(self, deployment: str) -> list[CloudNode]:
        """All nodes of this cloud that carry the deployment's tag."""

    def find(self, node_id: str) -> CloudNode | None:
        """The node, or None where the cloud knows none of that id."""

    def vouch(self, node: CloudNode) -> str | None:
        """The running node's SSH host key as the cloud knows it, or None where it does not (yet)."""

    def destroy(self, node_id: str) -> None:
        """Begin to remove the node; one that is gone already is no error."""

    def sizes(self) -> Sequence[CloudSize]:
        """What a node may have."""

    def images(self) -> Sequence[CloudImage]:
        """What a node may run."""

    def save_image(self, node_id: str, name: str, tags: Mapping[str, str]) -> CloudImage:
        """Make an image of the running node's disk; back when it can be used, which may take minutes."""

    def delete_image(self, image_id: str) -> None:
        """Remove an image that was saved; one that is gone already is no error."""

    def room(self) -> Room:
        """What is left of our quota."""

    def attach_home(self, node_id: str, name: str, uid: int, path: str) -> None:
        """Bring the volume of that name, made where it does not exist, to `path` on the node."""


# driver -> the module and the class of broker.clouds that drives it, imported when it is used
DRIVERS = {
    "azure": ("azure", "AzureCloud"),
    "beamdesk-local": ("local", "LocalCloud"),
    "ec2": ("ec2", "Ec2Cloud"),
    "gce": ("gce", "GceCloud"),
    "libvirt": ("libvirt", "LibvirtCloud"),
    "opennebula": ("opennebula", "OpenNebulaCloud"),
    "openstack": ("openstack", "OpenStackCloud"),
}


def open_cloud(settings: CloudSettings) -> Cloud:
    """The cloud of these settings; cheap, and safe to call from any thread. BadSettings where they cannot be used."""
    opened: dict[str, tuple[CloudSettings, Cloud]] = _of_thread.__dict__.setdefault("clouds", {})
    known = opened.get(settings.name)
    if known is None or known[0] != settings:
        module, kind = DRIVERS[settings.driver]
        made: Cloud = getattr(importlib.import_module(f"broker.clouds.{module}"), kind)(settings)
        known = opened[settings.name] = (settings, made)
    return known[1]


_of_thread = threading.local()
