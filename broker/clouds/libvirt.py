"""KVM and other hypervisors through libvirt.

Libcloud's driver opens the connection, and can list and stop what runs, but make nothing; and it finds addresses in the
ARP table of its own host. So domains, volumes and addresses are asked for here, in libvirt's own words. A domain is
defined first, with its tags, and gets its disks then: whatever fails in between, what is there is known as ours.

Proved against libvirt's own test driver (docs/clouds.md).
"""

from __future__ import annotations

import base64
import functools
import importlib
import io
import ipaddress
import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

from libcloud.compute.base import Node
from libcloud.compute.providers import get_driver
from libcloud.compute.types import NodeState, Provider
from pydantic import field_validator

from broker.clouds.adapter import BuildSpec, CloudImage, CloudNode, CloudSize, NodePhase, Room
from broker.clouds.libcloud_cloud import LibcloudCloud, name_of_request
from broker.clouds.libvirt_xml import NAMESPACE, disk_xml, domain_xml, seed_image, volume_xml
from broker.clouds.options import Options, listed, options_of
from broker.clouds.userdata import cloud_config
from broker.errors import BadSettings, CloudRefused
from broker.settings import CloudSettings

ALIVE_EVERY, ALIVE_COUNT = 5, 3  # seconds between signs of life, and how many may fail: a dead host is known after 15 s
AGENT_TIMEOUT = 10  # seconds for each answer of a guest's agent
NAME = "name"  # the tag that has the broker's name of it
_REQUESTS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)
_KEY_FILE = "/run/beamdesk_host_key.pub"
_TELL = f"cp /etc/ssh/ssh_host_ed25519_key.pub {_KEY_FILE}"  # once cloud-init has made it: the image's own is another
# libvirt's virDomainState
STATES: dict[int, NodePhase] = {1: "running", 2: "running", 4: "deleting"}
SHUT_OFF, NEVER_STARTED = 5, 0
# libvirt's virErrorNumber
_AGENT_SAID_NO, _NO_SUPPORT, _NO_DOMAIN, _NO_VOLUME, _NO_METADATA, _NO_AGENT = 1, 3, 42, 50, 80, 86


class LibvirtOptions(Options):
    """The host, and where machines of it are put."""

    uri: str
    sizes: str
    pool: str = "default"
    network: str = "default"
    type: str = "kvm"

    @field_validator("sizes")
    @classmethod
    def _must_be_sizes(cls, sizes: str) -> str:
        try:
            sizes_of(sizes)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "give name:cores:memory in GB:disk in GB, with commas: small:2:4:20, large:8:32:80"
            ) from error
        return sizes


def sizes_of(sizes: str) -> list[CloudSize]:
    """libvirt has no sizes: those of the settings."""
    split = [size.split(":") for size in listed(sizes)]
    return [CloudSize(name, name, int(cores), float(memory), float(disk)) for name, cores, memory, disk in split]


class LibvirtCloud(LibcloudCloud):
    """One host. A node's id is its domain's UUID, which is made from the request: the same again is the same domain."""

    def __init__(self, settings: CloudSettings) -> None:
        self.options = options_of(settings, LibvirtOptions)
        _bindings(settings.name)
        super().__init__(settings, lambda: _driver(self.options.uri))

    @property
    def host(self) -> Any:
        """The connection, opened again where it broke."""
        if not self.driver.connection.isAlive():
            del self.driver
        return self.driver.connection

    def create(self, spec: BuildSpec) -> Node:
        """Define the domain, give it its disks, and start it, from wherever an earlier request stopped."""
        id_, name = str(uuid.uuid5(_REQUESTS, spec.request_id)), name_of_request(spec)
        size = next((size for size in self.sizes() if size.id == spec.size_id), None)
        if size is None:
            raise CloudRefused(f"{self.settings.title} has no size {spec.size_id}.", hint="Name it in options.sizes.")
        pool = self._pool()
        with self._known("image", spec.image_id):
            image = pool.storageVolLookupByName(spec.image_id)
        try:
            domain = self.host.lookupByUUIDString(id_)
        except Exception as error:
            if not self.is_unknown(error):
                raise
            tags = {**self.tags_for(spec), NAME: spec.name}
            domain = self.host.defineXML(
                domain_xml(self.options.type, self.options.pool, self.options.network, id_, name, size, tags)
            )
        if not domain.isActive():
            _volume(pool, disk_xml(f"{name}.qcow2", size, image.path()))
            seed = seed_image(name, spec.name, cloud_config(spec.ssh_ca, _TELL, dial=spec.dial))
            self._upload(_volume(pool, volume_xml(f"{name}.iso", len(seed))), seed)
            domain.create()
        return self._node(domain)

    @contextmanager
    def _known(self, kind: str, wanted: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if _code(error) != _NO_VOLUME:
                raise
            raise CloudRefused(f"{self.settings.title} has no {kind} {wanted}.") from error

    def _pool(self) -> Any:
        return self.host.storagePoolLookupByName(self.options.pool)

    def _upload(self, volume: Any, data: bytes) -> None:
        stream, source = self.host.newStream(0), io.BytesIO(data)
        volume.upload(stream, 0, len(data), 0)
        stream.sendAll(lambda _stream, count, _: source.read(count), None)
        stream.finish()

    def tagged(self, key: str, value: str) -> list[Node]:
        """All domains that carry tags of ours; one that is removed meanwhile is none."""
        nodes = []
        for domain in self.host.listAllDomains(0):
            with _unless(_NO_DOMAIN):
                if _tags(domain):
                    nodes.append(self._node(domain))
        return nodes

    def look_up(self, node_id: str) -> Node:
        """The node."""
        return self._node(self.host.lookupByUUIDString(node_id))

    def remove(self, node_id: str) -> None:
        """Stop the domain, and remove its disks; the domain itself last."""
        domain, pool = self.host.lookupByUUIDString(node_id), self._pool()
        if domain.isActive():
            domain.destroy()
        for ending in ("qcow2", "iso"):
            with _unless(_NO_VOLUME):
                pool.storageVolLookupByName(f"{domain.name()}.{ending}").delete(0)
        domain.undefineFlags(1 | 2)  # with its saved state and what is known of its snapshots

    def is_unknown(self, error: Exception) -> bool:
        """libvirt has numbers for errors."""
        return _code(error) == _NO_DOMAIN

    def _node(self, domain: Any) -> Node:
        tags, (state, reason) = _tags(domain), domain.state()
        phase = STATES.get(state, "building" if (state, reason) == (SHUT_OFF, NEVER_STARTED) else "failed")
        addresses = _addresses(domain) if phase == "running" else []
        extra = {"tags": tags, "phase": phase}
        name = tags.pop(NAME, domain.name())
        return Node(domain.UUIDString(), name, NodeState.UNKNOWN, [], addresses, self.driver, extra=extra)

    def describe(self, node: Node) -> CloudNode:
        """The node, by libvirt's own state and the reason for it."""
        phase = node.extra["phase"]
        address = node.private_ips[0] if node.private_ips else None
        error = "its domain does not run" if phase == "failed" else None
        return CloudNode(node.id or "", node.name, phase, address, None, node.extra["tags"], error)

    def vouch(self, node: CloudNode) -> str | None:
        """The host key, read in the machine by its guest agent, to which only this host speaks."""
        said: list[str] = []
        with self.asking(f"asking the agent of {node.name}"), _unless(_NO_AGENT):
            said = _read(self.host.lookupByUUIDString(node.id), _KEY_FILE).split()
        return " ".join(said[:2]) if said[:1] == ["ssh-ed25519"] else None

    def sizes(self) -> Sequence[CloudSize]:
        """Those of the settings."""
        return sizes_of(self.options.sizes)

    def size_of(self, size: CloudSize) -> CloudSize:
        """It is one already."""
        return size

    def images(self) -> Sequence[CloudImage]:
        """The volumes of the pool."""
        with self.asking("listing images"):
            return [CloudImage(volume.name(), volume.name()) for volume in self._pool().listAllVolumes(0)]

    def room(self) -> Room:
        """The host's memory that is promised to no domain; of cores libvirt gives more than there are."""
        with self.asking("asking for its memory"):
            promised = sum(domain.maxMemory() for domain in self.host.listAllDomains(0)) / 1024**2
            return Room(memory_gb=max(0.0, self.host.getInfo()[1] / 1024 - promised))


@contextmanager
def _unless(code: int) -> Iterator[None]:
    """Pass over libvirt's error of this number."""
    try:
        yield
    except Exception as error:
        if _code(error) != code:
            raise


def _code(error: Exception) -> int | None:
    ask = getattr(error, "get_error_code", None)
    return ask() if ask else None


def _tags(domain: Any) -> dict[str, str]:
    with _unless(_NO_METADATA):
        said = ET.fromstring(domain.metadata(2, NAMESPACE, 0))  # noqa: S314 (of the host that we trust with machines)
        return {str(key): str(value) for key, value in json.loads(said.text or "{}").items()}
    return {}


def _addresses(domain: Any) -> list[str]:
    """What the network's DHCP gave, or else what the guest's agent says; none where neither knows, yet."""
    for source in (0, 1):
        try:
            found = domain.interfaceAddresses(source, 0)
        except Exception as error:
            if _code(error) is None:
                raise
            continue
        known = [each["addr"] for name, one in found.items() if name != "lo" for each in one["addrs"] or []]
        known = [address for address in known if not ipaddress.ip_address(address).is_link_local]  # nobody asked a DHCP
        if known:
            return known
    return []


def _read(domain: Any, file: str) -> str:
    """A small file of the machine; nothing where there is none, yet."""
    qemu = importlib.import_module("libvirt_qemu")

    def agent(execute: str, **arguments: Any) -> Any:
        asked = json.dumps({"execute": execute, "arguments": arguments})
        return json.loads(qemu.qemuAgentCommand(domain, asked, AGENT_TIMEOUT, 0))["return"]

    handle = None
    with _unless(_AGENT_SAID_NO):
        handle = agent("guest-file-open", path=file, mode="r")
    if handle is None:
        return ""
    try:
        return base64.b64decode(agent("guest-file-read", handle=handle, count=4096)["buf-b64"]).decode()
    finally:
        agent("guest-file-close", handle=handle)


def _volume(pool: Any, wish: str) -> Any:
    """The volume, made where an earlier request did not."""
    with _unless(_NO_VOLUME):
        return pool.storageVolLookupByName(ET.fromstring(wish).findtext("name"))  # noqa: S314 (our own)
    return pool.createXML(wish, 0)


def _bindings(cloud: str) -> Any:
    """libvirt's Python module, which is no dependency of ours: it is built against the system's libvirt."""
    try:
        return importlib.import_module("libvirt")
    except ImportError as error:
        raise BadSettings(
            f"clouds.{cloud}.driver: libvirt's Python bindings are missing ({error}).",
            hint="Install libvirt-dev, pkg-config and a C compiler, then `pip install 'beamdesk[libvirt]'`.",
        ) from error


@functools.cache
def _keep_alive() -> None:
    """Have libvirt's own loop look after connections: without it a dead host would be waited for without end."""
    libvirt = importlib.import_module("libvirt")
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(lambda *_: None, None)  # it raises errors, too, and needs not print them

    def go_round() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=go_round, name="libvirt", daemon=True).start()


def _driver(uri: str) -> Any:
    _keep_alive()
    made: Any = get_driver(Provider.LIBVIRT)(uri)
    with _unless(_NO_SUPPORT):  # one in this process
        made.connection.setKeepAlive(ALIVE_EVERY, ALIVE_COUNT)
    return made
