"""Azure, by its Resource Manager.

Libcloud signs in and reads. A machine is asked for in the Resource Manager's own words: Libcloud's create cannot give
user-data (it hands bytes to JSON) nor a zone, and makes a network interface first, which outlives a machine that could
not be made. Here the interface and the disk are made with the machine, and go with it.

Proved against a recorded wire (docs/clouds.md).
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from libcloud.compute.base import Node
from libcloud.compute.providers import get_driver
from libcloud.compute.types import NodeState, Provider

from broker.clouds.adapter import BuildSpec, CloudImage, CloudNode, CloudSize, NodePhase, Room
from broker.clouds.faults import status_of
from broker.clouds.libcloud_cloud import PHASES, LibcloudCloud, name_of_request
from broker.clouds.options import Options, options_of
from broker.clouds.userdata import cloud_config, host_key
from broker.settings import CloudSettings

VERSION = "2021-11-01"  # of Microsoft.Compute; Libcloud's own
NETWORK_VERSION = "2020-11-01"
_MODEL = re.compile(r"_(?P<model>[A-Z]+\d+[A-Z]*)(?:_|$)")  # Standard_NC4as_T4_v3 is a T4, as Azure names its sizes
_PREFIX = re.compile(r"^[A-Za-z]+_[^_]+")  # Standard_NC4as


class AzureOptions(Options):
    """Who we are (a service principal), and where machines are put."""

    tenant: str
    subscription: str
    client_id: str
    client_secret: str
    region: str
    resource_group: str
    subnet: str
    security_group: str = ""
    zone: str = ""
    disk_type: str = "StandardSSD_LRS"
    environment: Literal["default", "AzureChinaCloud", "AzureUSGovernment"] = "default"


class AzureCloud(LibcloudCloud):
    """One resource group in one region. A node's id is its name there, for Azure writes whole ids in several ways."""

    phases: ClassVar[dict[Any, NodePhase]] = {
        **PHASES,
        NodeState.STOPPED: "failed",
        NodeState.PAUSED: "failed",
    }

    def __init__(self, settings: CloudSettings) -> None:
        self.options = options_of(settings, AzureOptions)
        self._subscription = f"/subscriptions/{self.options.subscription}"
        self._group = f"{self._subscription}/resourceGroups/{self.options.resource_group}/providers"
        self._region = f"{self._subscription}/providers/Microsoft.Compute/locations/{self.options.region}"
        super().__init__(settings, lambda: _driver(self.options, settings.timeout))

    def create(self, spec: BuildSpec) -> Node:
        """Ask for the node, unless an earlier request did: its name is this request's alone."""
        name = name_of_request(spec)
        try:
            return self.look_up(name)
        except Exception as error:
            if not self.is_unknown(error):
                raise
        answer = self._ask(self._path(name), method="PUT", data=self._wish(name, spec))
        node: Node = self.driver._to_node(answer, fetch_nic=False, fetch_power_state=False)
        return node

    def _wish(self, name: str, spec: BuildSpec) -> dict[str, Any]:
        """The machine, as Virtual Machines - Create Or Update has it."""
        options = self.options
        return {
            "location": options.region,
            "tags": self.tags_for(spec),
            **({"zones": [options.zone]} if options.zone else {}),
            "properties": {
                "hardwareProfile": {"vmSize": spec.size_id},
                "storageProfile": {
                    "imageReference": self._image(spec.image_id),
                    "osDisk": {
                        "createOption": "FromImage",
                        "deleteOption": "Delete",
                        "managedDisk": {"storageAccountType": options.disk_type},
                    },
                },
                "osProfile": {
                    "computerName": spec.name[:63].rstrip("-"),
                    "adminUsername": "beamdesk",
                    "customData": base64.b64encode(cloud_config(spec.ssh_ca, dial=spec.dial).encode()).decode(),
                    "linuxConfiguration": {
                        "disablePasswordAuthentication": True,
                        "ssh": {
                            "publicKeys": [
                                {"path": "/home/beamdesk/.ssh/authorized_keys", "keyData": _key_that_nobody_has()}
                            ]
                        },
                    },
                },
                "networkProfile": self._interface(name),
                "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
            },
        }

    def _interface(self, name: str) -> dict[str, Any]:
        """One private address in the subnet, for as long as the machine is there."""
        place = {"subnet": {"id": self.options.subnet}, "primary": True}
        wish: dict[str, Any] = {
            "primary": True,
            "deleteOption": "Delete",
            "ipConfigurations": [{"name": "address", "properties": place}],
        }
        if self.options.security_group:
            wish["networkSecurityGroup"] = {"id": self.options.security_group}
        interfaces = [{"name": f"{name}-nic", "properties": wish}]
        return {"networkApiVersion": NETWORK_VERSION, "networkInterfaceConfigurations": interfaces}

    def _image(self, wanted: str) -> dict[str, str]:
        """A marketplace's image by publisher:offer:sku:version; ours by its id, or by its name in the group."""
        if wanted.count(":") == 3:
            return dict(zip(("publisher", "offer", "sku", "version"), wanted.split(":"), strict=True))
        return {"id": wanted if wanted.startswith("/") else f"{self._group}/Microsoft.Compute/images/{wanted}"}

    def tagged(self, key: str, value: str) -> list[Node]:
        """All nodes of the group, and by another list their addresses: Azure chooses by no tag of a machine."""
        nodes: list[Node] = self.driver.list_nodes(
            ex_resource_group=self.options.resource_group, ex_fetch_nic=False, ex_fetch_power_state=False
        )
        interfaces = self._all(f"{self._group}/Microsoft.Network/networkInterfaces", NETWORK_VERSION)
        addresses = {interface["id"].lower(): _address(interface) for interface in interfaces}
        for node in nodes:
            own = node.extra["properties"]["networkProfile"]["networkInterfaces"]
            known = [addresses.get(interface["id"].lower()) for interface in own]
            node.private_ips = [address for address in known if address]
        return nodes

    def look_up(self, node_id: str) -> Node:
        """The node, and whether it runs."""
        node: Node = self.driver.ex_get_node(self._path(node_id))
        return node

    def remove(self, node_id: str) -> None:
        """The machine; its interface and its disk go with it."""
        self._ask(self._path(node_id), method="DELETE")

    def is_unknown(self, error: Exception) -> bool:
        """Azure answers 404, and 204 to who deletes what is not there."""
        return status_of(error) in (204, 404)

    def describe(self, node: Node) -> CloudNode:
        """The node by its name in the group, called as it calls itself."""
        seen = super().describe(node)
        has = node.extra["properties"]
        name = has.get("osProfile", {}).get("computerName", node.name)
        state: NodePhase = "deleting" if has["provisioningState"] == "Deleting" else seen.state
        return replace(seen, id=node.name, name=name, state=state)

    def error_of(self, node: Node) -> str | None:
        """What Azure says of what it could not make, or of a machine in which nobody can work."""
        if self.phases.get(node.state) != "failed":
            return None
        return "it could not be provisioned" if node.state == NodeState.ERROR else "it is stopped"

    def vouch(self, node: CloudNode) -> str | None:
        """The host key that cloud-init wrote to the console, which Azure's boot diagnostics keep."""
        with self.asking(f"reading the console of {node.name}"):
            answer = self._ask(f"{self._path(node.id)}/retrieveBootDiagnosticsData", method="POST")
            place = urlsplit(answer["serialConsoleLogBlobUri"])
            connection = self.driver.connection.conn_class(place.hostname, 443, timeout=self.settings.timeout)
            connection.request("GET", f"{place.path}?{place.query}")
            log = connection.getresponse()
            if log.status_code == 404:  # nothing was written yet
                return None
            log.raise_for_status()
        return host_key(log.content.decode(errors="replace"))

    def sizes(self) -> Sequence[CloudSize]:
        """The sizes that this subscription may have in the region, by the list that knows of GPUs."""
        with self.asking("listing sizes"):
            chosen = {"$filter": f"location eq '{self.options.region}'"}
            skus = self._all(f"{self._subscription}/providers/Microsoft.Compute/skus", "2021-07-01", chosen)
            machines = [sku for sku in skus if sku["resourceType"] == "virtualMachines"]
            return [self.size_of(sku) for sku in machines if not _is_barred(sku)]

    def size_of(self, size: Any) -> CloudSize:
        """A size of the Resource Manager's list; its GPUs' model is in its name, where that says it."""
        has = {capability["name"]: capability["value"] for capability in size["capabilities"]}
        model = _MODEL.search(_PREFIX.sub("", size["name"]))
        gpus = int(has.get("GPUs", 0))
        disk = float(has.get("MaxResourceVolumeMB", 0)) / 1024
        return CloudSize(
            *(size["name"], size["name"], int(has["vCPUs"]), float(has["MemoryGB"]), disk, gpus),
            model["model"] if gpus and model else "",
        )

    def images(self) -> Sequence[CloudImage]:
        """The group's own images, and the one of the settings; of everybody's there are a hundred thousand."""
        with self.asking("listing images"):
            own = self._all(f"{self._group}/Microsoft.Compute/images", VERSION)
            images = [CloudImage(image["id"], image["name"]) for image in own]
            wanted = self.settings.image
            known = any(wanted in (image.id, image.name) for image in images)
            return images if known or not self._has(wanted) else [*images, CloudImage(wanted, wanted)]

    def _has(self, image: str) -> bool:
        reference = self._image(image)
        try:
            if "id" in reference:
                return bool(self._ask(reference["id"], version="2021-07-01"))  # known to images and to galleries
            place = "publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}".format(**reference)
            versions = [name for _, name in self.driver.ex_list_image_versions(f"{self._region}/{place}")]
        except Exception as error:
            if not self.is_unknown(error):
                raise
            return False
        return reference["version"] in versions or (reference["version"] == "latest" and bool(versions))

    def room(self) -> Room:
        """What the subscription's limits in the region leave."""
        with self.asking("asking for its limits"):
            usages = self._all(f"{self._region}/usages", VERSION)
        left = {usage["name"]["value"]: max(0, usage["limit"] - usage["currentValue"]) for usage in usages}
        return Room(left.get("virtualMachines"), left.get("cores"))

    def _path(self, name: str) -> str:
        return f"{self._group}/Microsoft.Compute/virtualMachines/{name}"

    def _ask(self, path: str, *, version: str = VERSION, method: str = "GET", data: Any = None) -> Any:
        return self.driver.connection.request(path, {"api-version": version}, data, method=method).object

    def _all(self, path: str, version: str, chosen: dict[str, str] | None = None) -> list[Any]:
        """What is on all pages of a list."""
        found: list[Any] = []
        params: dict[str, str] | None = {"api-version": version, **(chosen or {})}
        while params is not None:
            page = self.driver.connection.request(path, params).object
            found += page["value"]
            following = urlsplit(page.get("nextLink") or "")
            path, params = following.path, dict(parse_qsl(following.query)) if following.path else None
        return found


def _address(interface: dict[str, Any]) -> str | None:
    places = interface["properties"].get("ipConfigurations", [])
    return next((place["properties"].get("privateIPAddress") for place in places), None)


def _is_barred(sku: dict[str, Any]) -> bool:
    """Whether the subscription may not have this size in the whole region."""
    return any(restriction["type"] == "Location" for restriction in sku.get("restrictions", []))


@functools.cache
def _key_that_nobody_has() -> str:
    """Azure insists on a key or a password for its administrator: a public key whose private half is forgotten."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _driver(options: AzureOptions, timeout: float) -> Any:
    driver: Any = get_driver(Provider.AZURE_ARM)
    return driver(
        *(options.tenant, options.subscription, options.client_id, options.client_secret),
        region=options.region,
        cloud_environment=options.environment,
        timeout=timeout,
    )
