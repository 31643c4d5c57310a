"""EC2: Amazon's, and others that speak its API.

Proved against Moto's EC2 server (docs/clouds.md).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from libcloud.compute.base import Node, NodeImage, NodeSize, VolumeSnapshot
from libcloud.compute.constants.ec2_instance_types import INSTANCE_TYPES
from libcloud.compute.drivers.ec2 import NAMESPACE, EC2NetworkSubnet
from libcloud.compute.providers import get_driver
from libcloud.compute.types import NodeState, Provider
from libcloud.utils.xml import findtext

from broker.clouds.adapter import REQUEST, BuildSpec, CloudImage, CloudNode, CloudSize, NodePhase
from broker.clouds.libcloud_cloud import PHASES, LibcloudCloud
from broker.clouds.options import Options, listed, options_of
from broker.clouds.userdata import cloud_config, host_key
from broker.errors import CloudRefused
from broker.settings import CloudSettings

GPUS = {
    **{"g4dn": "T4", "g5": "A10G", "g5g": "T4G", "g6": "L4", "gr6": "L4", "g6e": "L40S", "p3": "V100", "p3dn": "V100"},
    **{"p4d": "A100", "p4de": "A100", "p5": "H100", "p5e": "H200", "p5en": "H200"},
}  # by the family of instance types, as Amazon's page of accelerated computing has them
# The API's own words, some of which Libcloud does not know
STATES: dict[str, NodePhase] = {"shutting-down": "deleting", "stopping": "failed", "stopped": "failed"}


class Ec2Options(Options):
    """Who we are, and where machines are put."""

    access_key: str
    secret_key: str
    region: str
    subnet: str
    security_groups: str = ""
    endpoint: str = ""


class Ec2Cloud(LibcloudCloud):
    """One account in one region."""

    phases: ClassVar[dict[Any, NodePhase]] = {**PHASES, NodeState.UNKNOWN: "failed"}

    def __init__(self, settings: CloudSettings) -> None:
        self.options = options_of(settings, Ec2Options)
        super().__init__(settings, lambda: _driver(self.options, settings.timeout))

    def create(self, spec: BuildSpec) -> Node:
        """Ask for the node, unless an earlier request made it; the client token holds off one that is under way."""
        for made in self.tagged(REQUEST, spec.request_id):
            if self.describe(made).state != "gone":
                return made
        options = self.options
        node: Node = self.driver.create_node(
            name=spec.name,
            size=self._size(spec.size_id),
            image=self._image(spec.image_id),
            ex_subnet=EC2NetworkSubnet(options.subnet, options.subnet, "available"),
            ex_security_group_ids=listed(options.security_groups) or None,
            ex_metadata=self.tags_for(spec),
            ex_userdata=cloud_config(spec.ssh_ca, dial=spec.dial),
            ex_clienttoken=hashlib.sha256(spec.request_id.encode()).hexdigest(),
            ex_terminate_on_shutdown=True,
        )
        return node

    def _size(self, wanted: str) -> NodeSize:
        """The instance type, in Libcloud's own list of them: all of it as sizes, with prices, takes a while."""
        known: Any = INSTANCE_TYPES.get(wanted)
        if known is None:
            raise CloudRefused(f"{self.settings.title} has no size {wanted}.", hint="Give an instance type: t3.large.")
        return NodeSize(driver=self.driver, price=0.0, **known)

    def _image(self, wanted: str) -> Any:
        """The image of this id, or the newest of our own of this name."""
        by_id = wanted.startswith("ami-")
        chosen = {"image-id": wanted} if by_id else {"name": wanted}
        found = self.driver.list_images(ex_owner=None if by_id else "self", ex_filters=chosen)
        if not found:
            where = "It takes an AMI's id" if by_id else "Name one of the account's own, or give an AMI's id"
            raise CloudRefused(f"{self.settings.title} has no image {wanted}.", hint=f"{where}.")
        return max(found, key=lambda image: str(image.extra.get("creation_date", "")))

    def tagged(self, key: str, value: str) -> list[Node]:
        """The nodes with this tag, chosen by the cloud."""
        nodes: list[Node] = self.driver.list_nodes(ex_filters={f"tag:{key}": value})
        return nodes

    def look_up(self, node_id: str) -> Node | None:
        """The node."""
        return next(iter(self.driver.list_nodes(ex_node_ids=[node_id])), None)

    def is_unknown(self, error: Exception) -> bool:
        """EC2 answers 400, and says which mistake in words."""
        return "InvalidInstanceID" in str(error)

    def describe(self, node: Node) -> CloudNode:
        """The node, by EC2's own name of its state where Libcloud has none."""
        seen = super().describe(node)
        state = STATES.get(node.extra.get("status", ""), seen.state)
        return replace(seen, state=state, error=f"it is {node.extra['status']}" if state == "failed" else None)

    def vouch(self, node: CloudNode) -> str | None:
        """The host key that cloud-init wrote to the console, which EC2 shows some minutes after the start."""
        wish = {"Action": "GetConsoleOutput", "InstanceId": node.id}
        with self.asking(f"reading the console of {node.name}"):
            answer = self.driver.connection.request(self.driver.path, params=wish).object
            told = base64.b64decode(findtext(answer, "output", NAMESPACE) or "")
        return host_key(told.decode(errors="replace"))  # Libcloud's own call fails where it is cut within a letter

    def begin_image(self, node: Node, name: str, tags: Mapping[str, str]) -> NodeImage:
        """An AMI of the node, which is rebooted for it, so that its disk is whole."""
        image: NodeImage = self.driver.create_image(node, name, reboot=True)
        with self.or_no_image(image.id):
            self.driver.ex_create_tags(image, dict(tags))
        return NodeImage(image.id, name, self.driver)

    def is_saved(self, image_id: str) -> bool:
        """Whether EC2 shows the image, and has it whole."""
        found = self.driver.list_images(ex_owner="self", ex_filters={"image-id": image_id})
        if found and found[0].extra["state"] in ("failed", "error", "invalid"):
            raise CloudRefused(f"{self.settings.title} could not make {image_id}.", hint="Its own console says why.")
        return bool(found) and found[0].extra["state"] == "available"

    def delete_image(self, image_id: str) -> None:
        """Deregister the AMI, and delete its snapshots, which would be paid for ever."""
        with self.asking(f"removing image {image_id}"):
            for image in self.driver.list_images(ex_owner="self", ex_filters={"image-id": image_id}):
                self.driver.delete_image(image)
                for disk in image.extra["block_device_mapping"]:
                    if snapshot := disk.get("ebs", {}).get("snapshot_id"):
                        self.driver.destroy_volume_snapshot(VolumeSnapshot(snapshot, self.driver))

    def size_of(self, size: Any) -> CloudSize:
        """Libcloud's own list of instance types; EC2 is not asked."""
        has = size.extra
        gpus = int(has["gpu"]) if str(has.get("gpu", "")).isdecimal() else 0
        model = GPUS.get(size.id.partition(".")[0], "") if gpus else ""
        return CloudSize(size.id, size.id, int(has["vcpu"]), size.ram / 1024, float(size.disk or 0), gpus, model)

    def sizes(self) -> Sequence[CloudSize]:
        """The instance types whose cores are known."""
        return [self.size_of(size) for size in self.driver.list_sizes() if str(size.extra.get("vcpu")).isdecimal()]

    def images(self) -> Sequence[CloudImage]:
        """The account's own images, and the one of the settings; of everybody's there are a hundred thousand."""
        with self.asking("listing images"):
            own = self.driver.list_images(ex_owner="self")
            by_id = self.settings.image.startswith("ami-")
            wanted = self.driver.list_images(ex_filters={"image-id": self.settings.image}) if by_id else []
        return [CloudImage(image.id, image.name) for image in (*own, *wanted)]


def _driver(options: Ec2Options, timeout: float) -> Any:
    endpoint = urlsplit(options.endpoint)
    elsewhere = {"host": endpoint.hostname, "port": endpoint.port, "secure": endpoint.scheme == "https"}
    driver: Any = get_driver(Provider.EC2)
    return driver(
        options.access_key,
        options.secret_key,
        region=options.region,
        signature_version="4",
        timeout=timeout,
        **(elsewhere if options.endpoint else {}),
    )
