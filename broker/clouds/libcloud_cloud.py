"""What Libcloud's drivers do alike; a provider's own file says what differs."""

from __future__ import annotations

import functools
import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import structlog
from libcloud.compute.base import Node, NodeImage
from libcloud.compute.types import NodeState

from broker.clouds.adapter import (
    CLOUD,
    DEPLOYMENT,
    REQUEST,
    BuildSpec,
    CloudImage,
    CloudNode,
    CloudSize,
    NodePhase,
    Room,
)
from broker.clouds.faults import faults, status_of
from broker.errors import CloudFault, CloudRefused
from broker.settings import CloudSettings

log = structlog.get_logger()

PHASES: dict[Any, NodePhase] = {
    NodeState.PENDING: "building",
    NodeState.RUNNING: "running",
    NodeState.STOPPING: "deleting",
    NodeState.TERMINATED: "gone",
    NodeState.ERROR: "failed",
}
SAVED_WITHIN, LOOK_EVERY = 3600.0, 1.0  # seconds that an image may take, and between two looks at it


class LibcloudCloud(ABC):
    """A cloud through its Libcloud driver."""

    phases: ClassVar[dict[Any, NodePhase]] = PHASES

    def __init__(self, settings: CloudSettings, connect: Callable[[], Any]) -> None:
        self.settings, self._connect = settings, connect

    @functools.cached_property
    def driver(self) -> Any:
        """Libcloud's driver, made at the first use: some sign in as they are made."""
        return self._connect()

    def build(self, spec: BuildSpec) -> CloudNode:
        """Begin a node."""
        with self.asking(f"building {spec.name}"):
            return self.describe(self.create(spec))

    def list_ours(self, deployment: str) -> list[CloudNode]:
        """The deployment's nodes."""
        with self.asking("listing machines"):
            nodes = [self.describe(node) for node in self.tagged(DEPLOYMENT, deployment)]
        ours = [node for node in nodes if node.tags.get(DEPLOYMENT) == deployment]
        return [node for node in ours if node.tags.get(CLOUD, self.settings.name) == self.settings.name]

    def find(self, node_id: str) -> CloudNode | None:
        """The node, or None."""
        with self.asking(f"looking up {node_id}"):
            try:
                node = self.look_up(node_id)
            except Exception as error:
                if not self.is_unknown(error):
                    raise
                return None
        return None if node is None else self.describe(node)

    def destroy(self, node_id: str) -> None:
        """Begin to remove the node."""
        with self.asking(f"removing {node_id}"):
            try:
                self.remove(node_id)
            except Exception as error:
                if not self.is_unknown(error):
                    raise

    def remove(self, node_id: str) -> None:
        """Ask for the node's removal; an error where the cloud knows none of that id."""
        self.driver.destroy_node(self.named(node_id))

    @abstractmethod
    def create(self, spec: BuildSpec) -> Node:
        """Ask for the node, or find the one that an earlier request of this id made."""

    def tags_for(self, spec: BuildSpec) -> dict[str, str]:
        """The tags of a new node, this cloud's name among them: several clouds may share an account."""
        return {**spec.tags, CLOUD: self.settings.name, REQUEST: spec.request_id}

    def tagged(self, key: str, value: str) -> list[Node]:
        """At least the nodes with this tag: all, where the cloud does not choose."""
        nodes: list[Node] = self.driver.list_nodes()
        return nodes

    def is_unknown(self, error: Exception) -> bool:
        """Whether this is the cloud's way to say that it knows no such node."""
        return status_of(error) == 404

    @abstractmethod
    def look_up(self, node_id: str) -> Node | None:
        """The node of this id; None, or an error with HTTP's 404, where there is none."""

    def describe(self, node: Node) -> CloudNode:
        """The node as the broker sees it."""
        addresses = [*node.private_ips, *node.public_ips]
        return CloudNode(
            id=str(node.id),
            name=node.name,
            state=self.phases.get(node.state, "building"),
            address=addresses[0] if addresses else None,
            host_key=node.extra.get("host_key"),
            tags=self.tags_of(node),
            error=self.error_of(node),
        )

    def tags_of(self, node: Node) -> dict[str, str]:
        """The node's tags."""
        return node.extra.get("tags") or {}

    def error_of(self, node: Node) -> str | None:
        """Why the cloud says that the node failed."""
        return node.extra.get("error")

    def vouch(self, node: CloudNode) -> str | None:
        """The node's host key, which the list itself has."""
        return node.host_key

    def sizes(self) -> Sequence[CloudSize]:
        """What a node may have."""
        with self.asking("listing sizes"):
            return [self.size_of(size) for size in self.driver.list_sizes()]

    @abstractmethod
    def size_of(self, size: Any) -> CloudSize:
        """The size as the broker sees it."""

    def images(self) -> Sequence[CloudImage]:
        """What a node may run."""
        with self.asking("listing images"):
            return [CloudImage(image.id, image.name) for image in self.driver.list_images()]

    def save_image(self, node_id: str, name: str, tags: Mapping[str, str]) -> CloudImage:
        """Make an image of the node's disk, and wait until it can be used."""
        with self.asking(f"saving {name}"):
            image = self.begin_image(self.named(node_id), name, tags)
        with self.or_no_image(image.id):
            self._finish(image.id, name)
        return CloudImage(image.id, image.name)

    def begin_image(self, node: Node, name: str, tags: Mapping[str, str]) -> NodeImage:
        """Ask for the image."""
        raise CloudRefused(f"{self.settings.title} saves no images.", hint="Bake its image by the cloud's own tools.")

    def is_saved(self, image_id: str) -> bool:
        """Whether the image can be used; CloudRefused where it never will be."""
        return True

    def _finish(self, image_id: str, name: str) -> None:
        """Until the image is saved, though the cloud may not always answer; CloudFault after SAVED_WITHIN."""
        deadline = time.monotonic() + SAVED_WITHIN
        while True:
            trouble = ""
            try:
                with self.asking(f"saving {name}"):
                    if self.is_saved(image_id):
                        return
            except CloudFault as error:
                if not error.transient:
                    raise
                trouble = f" {error.message}"
            if time.monotonic() > deadline:
                raise CloudFault(f"{self.settings.title} did not finish {name} within {SAVED_WITHIN:.0f} s.{trouble}")
            time.sleep(LOOK_EVERY)

    @contextmanager
    def or_no_image(self, image_id: str) -> Iterator[None]:
        """Where the block fails the image goes, too: nobody knows of it, and another one wants its name."""
        try:
            yield
        except BaseException:
            try:
                self.delete_image(image_id)
            except CloudFault as error:
                log.warning("cloud.image.left", image=image_id, error=error.message)
            raise

    def delete_image(self, image_id: str) -> None:
        """Remove the image."""
        with self.asking(f"removing image {image_id}"):
            try:
                self.driver.delete_image(NodeImage(image_id, "", self.driver))
            except Exception as error:
                if not self.is_unknown(error):
                    raise

    def room(self) -> Room:
        """What is left of our quota: this cloud does not say."""
        return Room()

    def attach_home(self, node_id: str, name: str, uid: int, path: str) -> None:
        """A cloud's volume is one machine's disk, and homes are in several at once: the mirror brings them."""
        raise CloudRefused(
            f"{self.settings.title} keeps no homes.", hint="Homes come to machines of this cloud by the home mirror."
        )

    def named(self, node_id: str) -> Node:
        """Libcloud wants a whole Node where only its id matters."""
        return Node(node_id, "", NodeState.UNKNOWN, [], [], self.driver)

    def asking(self, doing: str) -> AbstractContextManager[None]:
        """Turn what Libcloud and the network raise into errors that a person understands."""
        return faults(self.settings.title, doing)


def name_of_request(spec: BuildSpec) -> str:
    """A name that only this request has, for clouds that know nodes by name: at most 63 characters of a host's name."""
    return f"{spec.name[:50].rstrip('-')}-{hashlib.sha256(spec.request_id.encode()).hexdigest()[:12]}"
