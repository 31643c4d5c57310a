"""The embedded cloud: its Libcloud driver, over its daemon's HTTP API on a unix socket (agents/localcloud)."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from libcloud.common.types import LibcloudError
from libcloud.compute.base import Node, NodeDriver, NodeImage, NodeLocation, NodeSize, StorageVolume
from libcloud.compute.providers import get_driver, set_driver
from libcloud.compute.types import NodeState

from broker.clouds.adapter import BuildSpec, CloudSize, Dial
from broker.clouds.libcloud_cloud import LibcloudCloud
from broker.clouds.options import Options, options_of
from broker.settings import CloudSettings

PROVIDER = "beamdesk-local"
SAVED_WITHIN = 300.0  # seconds
STATES = {
    "pending": NodeState.PENDING,
    "running": NodeState.RUNNING,
    "stopping": NodeState.STOPPING,
    "terminated": NodeState.TERMINATED,
    "error": NodeState.ERROR,
}


class LocalCloudError(LibcloudError):
    """Raised when the daemon says no; `status` is HTTP's."""

    def __init__(self, status: int, message: str, driver: Any = None) -> None:
        super().__init__(message, driver)
        self.status, self.message = status, message


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError as error:
            raise ConnectionError(f"no local cloud answers at {self._path} ({error.strerror or error})") from error


class LocalNodeDriver(NodeDriver):
    """Nodes of the embedded cloud; each call is one HTTP request of its own, so a driver may be shared."""

    type = PROVIDER
    name = "Beamdesk local cloud"
    website = "https://github.com/beamdesk"

    def __init__(self, key: str = "", secret: str | None = None, *, socket: str, timeout: float = 10) -> None:
        self._socket, self._timeout = socket, timeout
        super().__init__(key or "local", secret)

    def _ask(self, method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        connection = _UnixConnection(self._socket, timeout or self._timeout)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/v1{path}", text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        value = json.loads(answer) if answer else None
        if response.status >= 300:
            raise LocalCloudError(
                response.status, (value or {"error": {"message": "no reason"}})["error"]["message"], self
            )
        return value

    def list_nodes(self) -> list[Node]:
        """All nodes, those that ended lately too."""
        return [self._node(node) for node in self._ask("GET", "/nodes")]

    def ex_get_node(self, node_id: str) -> Node:
        """One node."""
        return self._node(self._ask("GET", f"/nodes/{node_id}"))

    def create_node(
        self,
        name: str,
        size: NodeSize,
        image: NodeImage,
        location: NodeLocation | None = None,
        auth: Any = None,
        ex_tags: dict[str, str] | None = None,
        ex_ssh_ca: str = "",
        ex_request_id: str | None = None,
        ex_dial: Dial | None = None,
    ) -> Node:
        """Begin a node that lets in whoever has a certificate of `ex_ssh_ca`; the same request id is the same node.
        With `ex_dial` it dials out, and nobody reaches it otherwise."""
        wish = {
            "name": name,
            "size": size.id,
            "image": image.id,
            "location": location.id if location else self.list_locations()[0].id,
            "tags": ex_tags or {},
            "ssh_ca": ex_ssh_ca,
            "request_id": ex_request_id,
            "dial": {"to": ex_dial.to, "files": dict(ex_dial.files)} if ex_dial else None,
        }
        return self._node(self._ask("POST", "/nodes", wish))

    def destroy_node(self, node: Node) -> bool:
        """Begin to remove the node."""
        self._ask("DELETE", f"/nodes/{node.id}")
        return True

    def ex_set_tags(self, node: Node, tags: dict[str, str]) -> Node:
        """Give the node these tags."""
        return self._node(self._ask("PUT", f"/nodes/{node.id}/tags", tags))

    def list_sizes(self, location: NodeLocation | None = None) -> list[NodeSize]:
        """What a node may have; memory and disk in MB and GB, as Libcloud counts."""
        return [
            NodeSize(
                entry["id"], entry["name"], entry["memory_mb"], entry["disk_mb"] / 1024, None, 0.0, self, extra=entry
            )
            for entry in self._ask("GET", "/sizes")
        ]

    def list_images(self, location: NodeLocation | None = None) -> list[NodeImage]:
        """What a node may run."""
        return [NodeImage(entry["id"], entry["name"], self) for entry in self._ask("GET", "/images")]

    def create_image(  # type: ignore[override]
        self, node: Node, name: str, description: str | None = None, ex_tags: dict[str, str] | None = None
    ) -> NodeImage:
        """Keep what the node wrote; back when the image can be used."""
        made = self._ask("POST", "/images", {"node": node.id, "name": name, "tags": ex_tags or {}}, SAVED_WITHIN)
        return NodeImage(made["id"], made["name"], self)

    def delete_image(self, node_image: NodeImage) -> bool:
        """Delete the saved image."""
        self._ask("DELETE", f"/images/{node_image.id}")
        return True

    def list_locations(self) -> list[NodeLocation]:
        """Where a node may stand."""
        return [NodeLocation(entry["id"], entry["name"], "", self) for entry in self._ask("GET", "/locations")]

    def create_volume(  # type: ignore[override]
        self, size: int, name: str, ex_owner: int = 0
    ) -> StorageVolume:
        """A folder of the owner's, of no fixed size; the same name again is the same volume."""
        self._ask("POST", "/volumes", {"name": name, "owner": ex_owner})
        return StorageVolume(name, name, size, self)

    def list_volumes(self) -> list[StorageVolume]:
        """All volumes."""
        return [StorageVolume(entry["name"], entry["name"], 0, self) for entry in self._ask("GET", "/volumes")]

    def destroy_volume(self, volume: StorageVolume) -> bool:
        """Delete the volume and what is on it."""
        self._ask("DELETE", f"/volumes/{volume.id}")
        return True

    def attach_volume(self, node: Node, volume: StorageVolume, device: str | None = None) -> bool:
        """Show the volume in the node, at the path `device`."""
        self._ask("POST", f"/nodes/{node.id}/volumes", {"volume": volume.id, "path": device})
        return True

    def ex_detach_volume(self, node: Node, volume: StorageVolume) -> bool:
        """Take the volume from the node."""
        self._ask("DELETE", f"/nodes/{node.id}/volumes/{volume.id}")
        return True

    def _node(self, node: dict[str, Any]) -> Node:
        return Node(
            node["id"],
            node["name"],
            STATES[node["state"]],
            public_ips=[],
            private_ips=[node["address"]] if node["address"] else [],
            driver=self,
            extra={key: node[key] for key in ("tags", "host_key", "size", "location", "created_at", "error")},
        )


def register() -> None:
    """Make the driver known to Libcloud; a second time is harmless."""
    try:
        set_driver(PROVIDER, __name__, LocalNodeDriver.__name__)  # type: ignore[arg-type]
    except AttributeError as error:
        if "already registered" not in str(error):
            raise


class LocalOptions(Options):
    """Where the daemon listens."""

    socket: str


class LocalCloud(LibcloudCloud):
    """The embedded cloud; several clouds of the settings may be locations of one daemon."""

    def __init__(self, settings: CloudSettings) -> None:
        register()
        driver: Any = get_driver(PROVIDER)
        socket = options_of(settings, LocalOptions).socket
        super().__init__(settings, lambda: driver(socket=socket, timeout=settings.timeout))

    def create(self, spec: BuildSpec) -> Node:
        """Ask for the node; the daemon knows a request again."""
        node: Node = self.driver.create_node(
            spec.name,
            NodeSize(spec.size_id, spec.size_id, 0, 0, 0, 0.0, self.driver),
            NodeImage(spec.image_id, spec.image_id, self.driver),
            NodeLocation(self.settings.location, "", "", self.driver),
            ex_tags=self.tags_for(spec),
            ex_ssh_ca=spec.ssh_ca,
            ex_request_id=spec.request_id,
            ex_dial=spec.dial,
        )
        return node

    def look_up(self, node_id: str) -> Node | None:
        """The node."""
        node: Node = self.driver.ex_get_node(node_id)
        return node

    def begin_image(self, node: Node, name: str, tags: Mapping[str, str]) -> NodeImage:
        """The daemon copies what the node wrote, and answers when that is done."""
        image: NodeImage = self.driver.create_image(node, name, ex_tags=dict(tags))
        return image

    def size_of(self, size: NodeSize) -> CloudSize:
        """The daemon says all of it."""
        has = size.extra
        return CloudSize(
            *(size.id, size.name, has["cores"], has["memory_mb"] / 1024, has["disk_mb"] / 1024),
            *(has["gpus"], has["gpu_model"]),
        )

    def attach_home(self, node_id: str, name: str, uid: int, path: str) -> None:
        """Make the volume where needed, and attach it."""
        with self.asking(f"attaching {name}"):
            volume = self.driver.create_volume(0, name, ex_owner=uid)
            self.driver.attach_volume(self.named(node_id), volume, path)
