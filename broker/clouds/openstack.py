"""OpenStack: Keystone's v3 sign-in (a password or an application credential), Nova, Glance and Neutron.

Proved against a real OpenStack with Nova's fake hypervisor (docs/clouds.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal

from libcloud.compute.base import Node, NodeImage
from libcloud.compute.providers import get_driver
from libcloud.compute.types import NodeState, Provider
from pydantic import model_validator

from broker.clouds.adapter import CLOUD, REQUEST, BuildSpec, CloudNode, CloudSize, NodePhase, Room
from broker.clouds.catalogue import Catalogue
from broker.clouds.floating import FloatingAddresses
from broker.clouds.libcloud_cloud import PHASES, LibcloudCloud
from broker.clouds.options import Options, listed, options_of
from broker.clouds.userdata import cloud_config, host_key
from broker.errors import CloudFault, CloudRefused
from broker.settings import CloudSettings

CONSOLE_LINES = 400
FLOATING = "floating address"  # of a node's extra
_ALIAS = re.compile(r"^(?P<model>[^:,]+):(?P<count>\d+)")  # the first of pci_passthrough:alias


class OpenStackOptions(Options):
    """Where the cloud is and who we are there: an application credential, or a name with its password."""

    auth_url: str
    region: str = ""
    application_credential_id: str = ""
    application_credential_secret: str = ""
    username: str = ""
    password: str = ""
    project: str = ""
    domain: str = "Default"
    project_domain_id: str = "default"
    network: str
    floating_network: str = ""
    security_groups: str = ""
    availability_zone: str = ""
    config_drive: Literal["yes", "no"] = "yes"

    @model_validator(mode="after")
    def _must_be_somebody(self) -> OpenStackOptions:
        by_credential = self.application_credential_id and self.application_credential_secret
        if not by_credential and not (self.username and self.password and self.project):
            raise ValueError(
                "give application_credential_id and application_credential_secret, or username, password and project"
            )
        return self


class OpenStackCloud(LibcloudCloud):
    """One project in one region."""

    phases: ClassVar[dict[Any, NodePhase]] = {
        **PHASES,
        NodeState.STOPPED: "failed",
        NodeState.PAUSED: "failed",
        NodeState.SUSPENDED: "failed",
        NodeState.UNKNOWN: "failed",
    }

    def __init__(self, settings: CloudSettings) -> None:
        self.options = options_of(settings, OpenStackOptions)
        super().__init__(settings, lambda: _driver(self.options, settings.timeout))
        self._catalogue = Catalogue(settings.title)

    @contextmanager
    def asking(self, doing: str) -> Iterator[None]:
        """As of any cloud; a sign-in that broke off halfway is begun anew, where Libcloud keeps its half until it ends.

        Its connections share a token and fetch the catalogue each for itself: one with a token and no catalogue would
        fail for as long as the token holds.
        """
        try:
            with super().asking(doing):
                yield
        except CloudFault:
            for connection in _connections(self.__dict__.get("driver")):
                half = connection.get_auth_class()
                if half.auth_token and connection.service_catalog is None:
                    half.clear_cached_auth_context()
            raise

    def create(self, spec: BuildSpec) -> Node:
        """Ask for the node, unless an earlier request made it: Nova itself would make another one."""
        for made in self._named_alike(spec.name):
            if self.tags_of(made).get(REQUEST) == spec.request_id:
                return made
        try:
            return self._create(spec)
        except Exception:
            self._catalogue.forget()
            raise

    def _create(self, spec: BuildSpec) -> Node:
        options = self.options
        placed: dict[str, Any] = {}
        if options.availability_zone:
            placed["ex_availability_zone"] = options.availability_zone
        if options.security_groups:
            placed["ex_security_groups"] = self._security_groups()
        node: Node = self.driver.create_node(
            name=spec.name,
            size=self._catalogue.one("size", self.driver.list_sizes, spec.size_id),
            image=self._catalogue.one("image", self.driver.list_images, spec.image_id),
            networks=[self._catalogue.one("network", self.driver.ex_list_networks, options.network)],
            ex_metadata=self.tags_for(spec),
            ex_userdata=cloud_config(spec.ssh_ca, dial=spec.dial),
            ex_config_drive=options.config_drive == "yes",
            **placed,
        )
        return node

    def _named_alike(self, name: str) -> list[Node]:
        """The nodes of this name, in one cheap call."""
        answer = self.driver.connection.request("/servers/detail", params={"name": f"^{re.escape(name)}$"})
        nodes: list[Node] = self.driver._to_nodes(answer.object)
        return nodes

    def _security_groups(self) -> list[Any]:
        groups = listed(self.options.security_groups)
        return [self._catalogue.one("security group", self.driver.ex_list_security_groups, name) for name in groups]

    def tagged(self, key: str, value: str) -> list[Node]:
        """All nodes; those with this tag that run get their floating addresses, where the settings want such."""
        nodes = super().tagged(key, value)
        floating = self._floating()
        known = floating.by_node() if floating else {}
        for node in nodes:
            node.extra[FLOATING] = known.get(str(node.id))
            if floating and self.tags_of(node).get(key) == value and self._lacks_address(node):
                node.extra[FLOATING] = floating.give(str(node.id))
        return nodes

    def _lacks_address(self, node: Node) -> bool:
        ours = self.tags_of(node).get(CLOUD) == self.settings.name
        return ours and not node.extra[FLOATING] and self.describe(node).state == "running"

    def _floating(self) -> FloatingAddresses | None:
        if not self.options.floating_network:
            return None
        pools = self.driver.ex_list_floating_ip_pools
        network = self._catalogue.one("floating network", pools, self.options.floating_network)
        return FloatingAddresses(self.driver, network.id, f"beamdesk-cloud={self.settings.name}")

    def look_up(self, node_id: str) -> Node | None:
        """The node."""
        node: Node | None = self.driver.ex_get_node_details(node_id)
        floating = self._floating()
        if node is not None and floating is not None:
            node.extra[FLOATING] = floating.by_node().get(node_id)
        return node

    def remove(self, node_id: str) -> None:
        """The node, after its floating address."""
        floating = self._floating()
        if floating is not None:
            floating.take_back(node_id)
        super().remove(node_id)

    def describe(self, node: Node) -> CloudNode:
        """The node; Nova goes on calling one active that it is removing."""
        seen = super().describe(node)
        if self.options.floating_network:
            seen = replace(seen, address=node.extra.get(FLOATING))
        if node.extra.get("task_state") == "deleting" and seen.state != "gone":
            return replace(seen, state="deleting", error=None)
        return seen

    def tags_of(self, node: Node) -> dict[str, str]:
        """Nova keeps them as metadata."""
        return node.extra.get("metadata") or {}

    def error_of(self, node: Node) -> str | None:
        """Nova's fault, or a state in which nobody can work."""
        fault = node.extra.get("fault") or {}
        if "message" in fault:
            return str(fault["message"]).strip()
        stopped = self.phases.get(node.state) == "failed"
        return f"it is {str(node.extra.get('vm_state') or node.state).lower()}" if stopped else None

    def vouch(self, node: CloudNode) -> str | None:
        """The host key that cloud-init wrote to the node's console, which only Nova's API shows."""
        with self.asking(f"reading the console of {node.name}"):
            answer = self.driver.ex_get_console_output(self.named(node.id), length=CONSOLE_LINES)
        return host_key(answer.get("output") or "")

    def begin_image(self, node: Node, name: str, tags: Mapping[str, str]) -> NodeImage:
        """Nova's createImage, which uploads to Glance some time later, and removes what it could not finish."""
        image: NodeImage = self.driver.create_image(node, name, metadata=dict(tags))
        return image

    def is_saved(self, image_id: str) -> bool:
        """Whether Glance has the image whole."""
        status = str(self.driver.get_image(image_id).extra["status"]).lower()
        if status not in ("active", "queued", "saving", "importing", "uploading"):
            raise CloudRefused(f"{self.settings.title} calls image {image_id} {status}.", hint="Nova's log says why.")
        return status == "active"

    def size_of(self, size: Any) -> CloudSize:
        """The flavour; its GPUs, in its extra specs, are those of the PCI alias, or virtual ones."""
        specs = self.driver.ex_get_size_extra_specs(size.id)
        alias = _ALIAS.match(specs.get("pci_passthrough:alias", ""))
        gpus, model = (int(alias["count"]), alias["model"]) if alias else (int(specs.get("resources:VGPU", 0)), "")
        return CloudSize(size.id, size.name, size.vcpus, size.ram / 1024, float(size.disk), gpus, model)

    def room(self) -> Room:
        """What Nova's limits leave; -1 is its word for no limit."""
        with self.asking("asking for its limits"):
            limits = self.driver.connection.request("/limits").object["limits"]["absolute"]

        def left(most: str, used: str) -> int | None:
            return None if limits[most] < 0 else max(0, limits[most] - limits[used])

        memory = left("maxTotalRAMSize", "totalRAMUsed")
        return Room(
            left("maxTotalInstances", "totalInstancesUsed"),
            left("maxTotalCores", "totalCoresUsed"),
            None if memory is None else memory / 1024,
        )


def _driver(options: OpenStackOptions, timeout: float) -> Any:
    """Libcloud's driver; its own retries stay off, because they repeat a create whose answer was lost."""
    by_credential = bool(options.application_credential_id)
    key = options.application_credential_id if by_credential else options.username
    secret = options.application_credential_secret if by_credential else options.password
    driver: Any = get_driver(Provider.OPENSTACK)
    return driver(
        key,
        secret,
        api_version="2.2",  # Libcloud's default is 1.1, without networks
        ex_force_auth_url=re.sub(r"/v3/?$", "", options.auth_url),
        ex_force_auth_version="3.x_appcred" if by_credential else "3.x_password",
        ex_tenant_name=options.project or None,
        ex_domain_name=options.domain,
        ex_tenant_domain_id=options.project_domain_id,
        ex_force_service_region=options.region or None,
        ex_auth_cache=_Tokens(),
        timeout=timeout,
    )


def _connections(driver: Any) -> list[Any]:
    return [driver.connection, driver.image_connection, driver.network_connection] if driver else []


class _Tokens:
    """One sign-in for Nova, Glance and Neutron, each of which would ask Keystone for itself: Libcloud's auth cache."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def get(self, key: Any) -> Any:
        return self._kept.get(key)

    def put(self, key: Any, context: Any) -> None:
        self._kept[key] = context

    def clear(self, key: Any) -> None:
        self._kept.pop(key, None)
