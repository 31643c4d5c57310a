"""OpenNebula, by our own driver of its XML-RPC (opennebula_driver.py says why).

Proved against a recorded wire (docs/clouds.md).
"""

from __future__ import annotations

import base64
import re
from typing import Any, ClassVar

from libcloud.compute.base import Node
from libcloud.compute.types import NodeState

from broker.clouds.adapter import CLOUD, DEPLOYMENT, MACHINE, REQUEST, BuildSpec, CloudNode, CloudSize, NodePhase, Room
from broker.clouds.catalogue import Catalogue
from broker.clouds.faults import status_of
from broker.clouds.libcloud_cloud import PHASES, LibcloudCloud
from broker.clouds.opennebula_driver import OpenNebulaNodeDriver, tag_name
from broker.clouds.options import Options, listed, options_of
from broker.clouds.userdata import cloud_config
from broker.settings import CloudSettings

HOST_KEY = "BEAMDESK_HOST_KEY"
_TAGS = {tag_name(key): key for key in (DEPLOYMENT, CLOUD, MACHINE, REQUEST)}
_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]+=*")
# OpenNebula shows nobody a machine's console. Its OneGate takes from a machine what that says of itself, by a token on
# the context's disk, which only root reads there.
_TELL = f"""\
at=$(mktemp -d) && mount -o ro -L CONTEXT "$at" && . "$at/context.sh" && curl -fsS --retry 5 --retry-connrefused \
-X PUT "$ONEGATE_ENDPOINT/vm" -H "X-ONEGATE-TOKEN: $(cat "$at/token.txt")" -H "X-ONEGATE-VMID: $VMID" \
-d "{HOST_KEY}=\\"$(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)\\""; umount "$at"\
"""


class OpenNebulaOptions(Options):
    """Where the cloud is, who we are, and the network of machines."""

    endpoint: str
    username: str
    password: str
    network: str
    security_groups: str = ""


class OpenNebulaCloud(LibcloudCloud):
    """One user's machines."""

    phases: ClassVar[dict[Any, NodePhase]] = {
        **PHASES,
        NodeState.STOPPED: "failed",
        NodeState.SUSPENDED: "failed",
        NodeState.UNKNOWN: "failed",
    }

    def __init__(self, settings: CloudSettings) -> None:
        self.options = options = options_of(settings, OpenNebulaOptions)
        super().__init__(
            settings,
            lambda: OpenNebulaNodeDriver(
                options.username, options.password, endpoint=options.endpoint, timeout=settings.timeout
            ),
        )
        self._catalogue = Catalogue(settings.title)

    def create(self, spec: BuildSpec) -> Node:
        """Ask for the node, unless an earlier request made it: OpenNebula itself would make another one."""
        ours: list[Node] = self.driver.list_nodes()
        for made in ours:
            if self.tags_of(made).get(REQUEST) == spec.request_id:
                return made
        groups = listed(self.options.security_groups)
        node: Node = self.driver.create_node(
            spec.name,
            self._catalogue.one("size", self.driver.list_sizes, spec.size_id),
            self._catalogue.one("image", self.driver.list_images, spec.image_id),
            self._catalogue.one("network", self.driver.ex_list_networks, self.options.network).id,
            ex_nic={"SECURITY_GROUPS": ",".join(groups)} if groups else {},
            ex_context=_context(spec),
            ex_tags=self.tags_for(spec),
        )
        return node

    def look_up(self, node_id: str) -> Node:
        """The node; OpenNebula goes on showing one that is gone."""
        node: Node = self.driver.ex_get_node(node_id)
        return node

    def remove(self, node_id: str) -> None:
        """Ask for the removal; what is going already is in the wrong state for it."""
        try:
            super().remove(node_id)
        except Exception as error:
            if status_of(error) != 409 or self.describe(self.look_up(node_id)).state not in ("deleting", "gone"):
                raise

    def tags_of(self, node: Node) -> dict[str, str]:
        """They are attributes of the user's part of the machine's template."""
        own = node.extra["attributes"]
        return {key: own[name] for name, key in _TAGS.items() if name in own}

    def error_of(self, node: Node) -> str | None:
        """What the scheduler or a host's driver wrote, or a state in which nobody can work."""
        failed = self.phases.get(node.state) == "failed"
        return (node.extra["error"] or f"it is {str(node.state).lower()}") if failed else None

    def vouch(self, node: CloudNode) -> str | None:
        """The host key that the machine gave to OneGate, which knows by its token that it was this machine."""
        with self.asking(f"looking up {node.name}"):
            said = self.look_up(node.id).extra["attributes"].get(HOST_KEY, "").strip()
        return said if _KEY.fullmatch(said) else None

    def size_of(self, size: Any) -> CloudSize:
        """The template; its GPUs are its PCI devices, and their model is an attribute that an operator may give it."""
        has = size.extra
        return CloudSize(
            *(size.id, size.name, has["cores"], size.ram / 1024, float(size.disk), has["gpus"], has["gpu_model"])
        )

    def room(self) -> Room:
        """What the user's own quota leaves; a negative limit is the group's, or none."""
        with self.asking("asking for its quota"):
            quota = self.driver.ex_quota()

        def left(limit: str) -> float | None:
            most = quota.get(limit, -1)
            return None if most < 0 else max(0, most - quota.get(f"{limit}_USED", 0))

        nodes, memory = left("VMS"), left("MEMORY")
        return Room(None if nodes is None else int(nodes), None, None if memory is None else memory / 1024)


def _context(spec: BuildSpec) -> dict[str, str]:
    """What the machine is told, for cloud-init's OpenNebula data source; TOKEN lets it speak to OneGate."""
    told = base64.b64encode(cloud_config(spec.ssh_ca, _TELL, dial=spec.dial).encode()).decode()
    return {
        "NETWORK": "YES",
        "SET_HOSTNAME": "$NAME",
        "TOKEN": "YES",
        "USER_DATA": told,
        "USER_DATA_ENCODING": "base64",
    }
