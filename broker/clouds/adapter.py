"""What the broker asks of a cloud, over Apache Libcloud.

Libcloud's drivers keep the last answer on the driver, so threads must not share one: there is one for each cloud
and thread. Nothing is retried here: a build is asked for again under the same request id, by the manager.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Literal, Protocol

from broker.errors import BadSettings, CloudFault, CloudFull, CloudRefused, CloudUnreachable
from broker.settings import CloudSettings

NodePhase = Literal["building", "running", "deleting", "gone", "failed"]


@dataclass(frozen=True)
class CloudNode:
    """A node as its cloud describes it; `host_key` is the SSH key that the cloud vouches for."""

    id: str
    name: str
    state: NodePhase
    address: str | None
    host_key: str | None
    tags: Mapping[str, str]
    error: str | None = None


@dataclass(frozen=True)
class BuildSpec:
    """What to build; `ssh_ca` may log in to it, and the same `request_id` never builds twice."""

    name: str
    size_id: str
    image_id: str
    tags: Mapping[str, str]
    ssh_ca: str
    request_id: str


class Cloud(Protocol):
    """One account at one provider in one location."""

    def build(self, spec: BuildSpec) -> CloudNode:
        """Begin a node; it runs some time later."""

    def list_ours(self, deployment: str) -> list[CloudNode]:
        """All nodes in this location that carry the deployment's tag, in one call."""

    def find(self, node_id: str) -> CloudNode | None:
        """The node, or None where the cloud knows none of that id."""

    def destroy(self, node_id: str) -> None:
        """Begin to remove the node; one that is gone already is no error."""

    def attach_home(self, node_id: str, name: str, uid: int, path: str) -> None:
        """Bring the volume of that name, made where it does not exist, to `path` on the node."""


def open_cloud(settings: CloudSettings) -> Cloud:
    """The cloud of these settings; cheap, and safe to call from any thread."""
    opened: dict[str, tuple[CloudSettings, Cloud]] = _of_thread.__dict__.setdefault("clouds", {})
    known = opened.get(settings.name)
    if known is None or known[0] != settings:
        known = opened[settings.name] = (settings, _OPENERS[settings.driver](settings))
    return known[1]


_of_thread = threading.local()


class LocalCloud:
    """The embedded cloud, through its Libcloud driver."""

    def __init__(self, settings: CloudSettings) -> None:
        from libcloud.compute.providers import get_driver

        from broker.clouds import local

        if "socket" not in settings.options:
            raise BadSettings(
                f"clouds.{settings.name}.options has no socket, where the local cloud's daemon listens.",
                hint='Give it one: options = { socket = "var/run/localcloud.sock" }.',
            )
        local.register()
        driver: Any = get_driver(local.PROVIDER)
        self._driver = driver(socket=settings.options["socket"])
        self._settings = settings

    def build(self, spec: BuildSpec) -> CloudNode:
        """Begin a node."""
        from libcloud.compute.base import NodeImage, NodeLocation, NodeSize

        driver = self._driver
        with _faults(self._settings.title, f"building {spec.name}"):
            node = driver.create_node(
                spec.name,
                NodeSize(spec.size_id, spec.size_id, 0, 0, 0, 0.0, driver),
                NodeImage(spec.image_id, spec.image_id, driver),
                NodeLocation(self._settings.location, "", "", driver),
                ex_tags=dict(spec.tags),
                ex_ssh_ca=spec.ssh_ca,
                ex_request_id=spec.request_id,
            )
        return _as_node(node)

    def list_ours(self, deployment: str) -> list[CloudNode]:
        """The deployment's nodes in this location."""
        with _faults(self._settings.title, "listing machines"):
            nodes = self._driver.list_nodes()
        return [
            _as_node(node)
            for node in nodes
            if node.extra["location"] == self._settings.location
            and node.extra["tags"].get("beamdesk-deployment") == deployment
        ]

    def find(self, node_id: str) -> CloudNode | None:
        """The node, or None."""
        with _faults(self._settings.title, f"looking up {node_id}"):
            try:
                return _as_node(self._driver.ex_get_node(node_id))
            except Exception as error:
                if _status(error) == 404:
                    return None
                raise

    def destroy(self, node_id: str) -> None:
        """Begin to remove the node."""
        with _faults(self._settings.title, f"removing {node_id}"):
            try:
                self._driver.destroy_node(_named(node_id, self._driver))
            except Exception as error:
                if _status(error) != 404:
                    raise

    def attach_home(self, node_id: str, name: str, uid: int, path: str) -> None:
        """Make the volume where needed, and attach it."""
        with _faults(self._settings.title, f"attaching {name}"):
            volume = self._driver.create_volume(0, name, ex_owner=uid)
            self._driver.attach_volume(_named(node_id, self._driver), volume, path)


_OPENERS: dict[str, Callable[[CloudSettings], Cloud]] = {"beamdesk-local": LocalCloud}


@contextmanager
def _faults(title: str, doing: str) -> Iterator[None]:
    """Turn what Libcloud and the network raise into errors that a person understands."""
    try:
        yield
    except (OSError, HTTPException) as error:
        raise CloudUnreachable(
            f"{title} did not answer while {doing}: {error}.", hint="It is asked again in a moment."
        ) from error
    except Exception as error:
        status = _status(error)
        kind = CloudFull if status == 507 else CloudRefused if 400 <= status < 500 else CloudFault
        raise kind(f"{title} said no while {doing}: {getattr(error, 'message', error)}.") from error


def _status(error: Exception) -> int:
    """HTTP's status of what Libcloud raised, or 0; its errors keep it under two names, and some a text instead."""
    found = (getattr(error, "status", None), getattr(error, "code", None))
    return next((status for status in found if isinstance(status, int)), 0)


def _named(node_id: str, driver: Any) -> Any:
    """Libcloud wants a whole Node where only its id matters."""
    from libcloud.compute.base import Node
    from libcloud.compute.types import NodeState

    return Node(node_id, "", NodeState.UNKNOWN, [], [], driver)


def _as_node(node: Any) -> CloudNode:
    from libcloud.compute.types import NodeState

    phases: dict[Any, NodePhase] = {
        NodeState.PENDING: "building",
        NodeState.RUNNING: "running",
        NodeState.STOPPING: "deleting",
        NodeState.TERMINATED: "gone",
        NodeState.ERROR: "failed",
    }
    addresses = [*node.private_ips, *node.public_ips]
    return CloudNode(
        id=node.id,
        name=node.name,
        state=phases.get(node.state, "building"),
        address=addresses[0] if addresses else None,
        host_key=node.extra.get("host_key"),
        tags=node.extra.get("tags") or {},
        error=node.extra.get("error"),
    )
