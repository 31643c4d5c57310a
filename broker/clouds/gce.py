"""Google Compute Engine.

Proved against a recorded wire (docs/clouds.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from libcloud.common.google import GoogleAuthType, GoogleBaseError, ResourceExistsError, ResourceNotFoundError
from libcloud.common.types import LibcloudError
from libcloud.compute.base import Node
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from broker.clouds.adapter import BuildSpec, CloudImage, CloudNode, CloudSize, NodePhase, Room
from broker.clouds.libcloud_cloud import LibcloudCloud, name_of_request
from broker.clouds.options import Options, listed, options_of
from broker.clouds.userdata import cloud_config, host_key
from broker.errors import BadSettings, CloudFull, CloudRefused
from broker.settings import CloudSettings

# Google's own words; a machine that it pre-empts is stopped
STATES: dict[str, NodePhase] = {
    "PROVISIONING": "building",
    "STAGING": "building",
    "RUNNING": "running",
    "STOPPING": "deleting",
}
_FULL = ("QUOTA", "RESOURCE_POOL_EXHAUSTED", "RESOURCES_EXHAUSTED", "LIMIT_EXCEEDED")


class GceOptions(Options):
    """Who we are (a service account's key), and where machines are put."""

    key_file: str
    project: str
    zone: str
    network: str = "default"
    subnetwork: str = ""
    network_tags: str = ""
    disk_type: str = "pd-balanced"
    preemptible: Literal["yes", "no"] = "no"


class GceCloud(LibcloudCloud):
    """One project in one zone. A node's id is its name there."""

    def __init__(self, settings: CloudSettings) -> None:
        self.options = options_of(settings, GceOptions)
        account = _account(settings, self.options.key_file)
        super().__init__(settings, lambda: _driver(settings, self.options, account))

    def create(self, spec: BuildSpec) -> Node:
        """Ask for the node; its name is this request's alone, and Google makes no second one of a name."""
        name, options = name_of_request(spec), self.options
        size = self._found("size", spec.size_id, lambda: self.driver.ex_get_size(spec.size_id))
        moves = options.preemptible == "no" and not size.extra["accelerators"]
        try:
            node: Node = self.driver.create_node(
                name,
                size,
                self._image(spec.image_id),
                description=spec.name,
                ex_network=options.network,
                ex_subnetwork=options.subnetwork or None,
                external_ip=None,
                ex_tags=listed(options.network_tags) or None,
                ex_disk_type=options.disk_type,
                ex_labels=self.tags_for(spec),
                ex_metadata=_metadata(spec),
                ex_service_accounts=[],  # a user's machine may do nothing in the project
                ex_on_host_maintenance=None if moves else "TERMINATE",
                ex_automatic_restart=False,
                ex_preemptible=options.preemptible == "yes",
            )
        except ResourceExistsError:
            return self.look_up(name)
        except GoogleBaseError as error:
            self._refuse(error)
            raise
        except LibcloudError:  # it gave up waiting for the operation, which goes on: the machine is there by its name
            return self.look_up(name)
        return node

    def _refuse(self, error: GoogleBaseError) -> None:
        """Google answers that it will, and what comes of it has no status of HTTP's, but a code in words."""
        code = str(error.code).upper()
        full = any(word in code for word in _FULL)
        if full or error.http_code == 200:
            said = error.value.get("message") if isinstance(error.value, dict) else error.value
            raise (CloudFull if full else CloudRefused)(f"{self.settings.title} said no: {code}: {said}.") from error

    def _found(self, kind: str, wanted: str, look: Any) -> Any:
        try:
            return look()
        except ResourceNotFoundError as error:
            raise CloudRefused(f"{self.settings.title} has no {kind} {wanted}.") from error

    def _image(self, wanted: str) -> Any:
        """An image, or the newest of a family: of the project, or PROJECT/NAME of another one."""
        project, _, name = wanted.rpartition("/")
        connection, own = self.driver.connection, self.driver.connection.request_path
        connection.request_path = f"{own.rpartition('/')[0]}/{project or self.options.project}"
        try:
            answer = connection.request(f"/global/images/{name}").object
        except ResourceNotFoundError:
            answer = self._found("image", wanted, lambda: connection.request(f"/global/images/family/{name}").object)
        finally:
            connection.request_path = own
        return self.driver._to_node_image(answer)

    def look_up(self, node_id: str) -> Node:
        """The node."""
        node: Node = self.driver.ex_get_node(node_id)
        return node

    def remove(self, node_id: str) -> None:
        """The machine, and its disk with it, which Google takes its time for."""
        self.driver.connection.request(f"{self._zone()}/instances/{node_id}", method="DELETE")

    def is_unknown(self, error: Exception) -> bool:
        """Libcloud says it without HTTP's status where a node that goes has lost its disk already."""
        return isinstance(error, ResourceNotFoundError)

    def describe(self, node: Node) -> CloudNode:
        """The node by its name in the zone, called as the broker calls it, in Google's own states."""
        seen, status = super().describe(node), node.extra["status"]
        state = STATES.get(status, "failed")
        error = f"it is {status.lower()}" if state == "failed" else None
        return replace(seen, id=node.name, name=node.extra["description"] or node.name, state=state, error=error)

    def tags_of(self, node: Node) -> dict[str, str]:
        """Google calls them labels; its tags are for firewalls."""
        return node.extra["labels"] or {}

    def vouch(self, node: CloudNode) -> str | None:
        """The host key that cloud-init wrote to the first serial port."""
        with self.asking(f"reading the console of {node.name}"):
            answer = self.driver.connection.request(f"{self._zone()}/instances/{node.id}/serialPort").object
        return host_key(answer.get("contents") or "")

    def sizes(self) -> Sequence[CloudSize]:
        """The zone's machine types."""
        with self.asking("listing sizes"):
            types = self.driver.connection.paginated_request(f"{self._zone()}/machineTypes")["items"]
            return [self.size_of(self.driver._to_node_size(each, {})) for each in types]

    def size_of(self, size: Any) -> CloudSize:
        """The machine type, with the GPUs that it brings."""
        gpus = size.extra["accelerators"]
        count = sum(each["guestAcceleratorCount"] for each in gpus)
        model = gpus[0]["guestAcceleratorType"] if gpus else ""
        return CloudSize(size.name, size.name, size.extra["guestCpus"], size.ram / 1024, 0.0, count, model)

    def images(self) -> Sequence[CloudImage]:
        """The project's own images, and the one of the settings; of everybody's there are thousands."""
        with self.asking("listing images"):
            own = self.driver.connection.paginated_request("/global/images")["items"]
            images = [CloudImage(image["name"], image["name"]) for image in own]
            if any(image.name == self.settings.image for image in images):
                return images
            try:
                self._image(self.settings.image)
            except CloudRefused:
                return images
            return [*images, CloudImage(self.settings.image, self.settings.image)]

    def room(self) -> Room:
        """What the region's quota leaves: of machines, and of cores of the common kinds."""
        with self.asking("asking for its limits"):
            region = self.driver.region.name
            quotas = self.driver.connection.request(f"/regions/{region}").object["quotas"]
        left = {quota["metric"]: max(0, int(quota["limit"] - quota["usage"])) for quota in quotas}
        cores = "PREEMPTIBLE_CPUS" if self.options.preemptible == "yes" and left.get("PREEMPTIBLE_CPUS") else "CPUS"
        return Room(left.get("INSTANCES"), left.get(cores))

    def _zone(self) -> str:
        return f"/zones/{self.options.zone}"


def _metadata(spec: BuildSpec) -> dict[str, str]:
    """What the machine is told; keys and accounts of the project do not let anybody else in."""
    return {
        "user-data": cloud_config(spec.ssh_ca, dial=spec.dial),
        "block-project-ssh-keys": "TRUE",
        "enable-oslogin": "FALSE",
    }


def _account(settings: CloudSettings, file: str) -> dict[str, str]:
    """The service account's key, as Google's console gives it; BadSettings where it is none."""
    try:
        key = json.loads(Path(file).expanduser().read_text())
        return {"email": key["client_email"], "private_key": key["private_key"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadSettings(
            f"clouds.{settings.name}.options.key_file: {file} is no service account's key: {error!r}.",
            hint="Give the file of JSON that Google makes with `gcloud iam service-accounts keys create`.",
        ) from error


def _driver(settings: CloudSettings, options: GceOptions, account: dict[str, str]) -> Any:
    """Libcloud's driver; it would keep its token in a file of the home folder."""
    driver: Any = get_driver(Provider.GCE)
    made = driver(
        *(account["email"], account["private_key"]),
        auth_type=GoogleAuthType.SA,
        project=options.project,
        datacenter=options.zone,
        credential_file=os.devnull,
        timeout=settings.timeout,
    )
    if made.zone is None:
        there = ", ".join(sorted(made.zone_dict))
        raise CloudRefused(f"{settings.title} has no zone {options.zone}.", hint=f"It has these: {there}.")
    return made
