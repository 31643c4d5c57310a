"""A Libcloud driver of OpenNebula, over the XML-RPC that it speaks.

Libcloud's own speaks OCCI, which OpenNebula has not had since version 3.8. The methods and the states are those of
OpenNebula's reference (System Interfaces, XML-RPC API; Virtual Machine States).
"""

from __future__ import annotations

import xmlrpc.client  # nosec B411 # of the cloud that we trust with machines
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from libcloud.common.types import LibcloudError
from libcloud.compute.base import Node, NodeDriver, NodeImage, NodeLocation, NodeSize
from libcloud.compute.types import NodeState

PROVIDER = "beamdesk-opennebula"
MINE, USABLE = -3, -2  # whose things a list has
ALL_BUT_DONE = -1
_STATUS = {0x0100: 401, 0x0200: 403, 0x0400: 404, 0x0800: 409, 0x1000: 400}
ACTIVE = 3
# STATE, where the machine is in no LCM_STATE
_STATES = {
    0: NodeState.PENDING,
    1: NodeState.PENDING,
    2: NodeState.PENDING,
    4: NodeState.STOPPED,
    5: NodeState.SUSPENDED,
    6: NodeState.TERMINATED,
    8: NodeState.STOPPED,
    9: NodeState.STOPPED,
    10: NodeState.PENDING,
    11: NodeState.ERROR,
}
_FAILURES = (14, 36, 37, 38, 39, 40, 41, 42, 44, 46, 47, 48, 49, 50, 61)
# LCM_STATE; in all others it is on its way
_ACTIVE_STATES = {
    3: NodeState.RUNNING,
    11: NodeState.STOPPING,  # EPILOG
    12: NodeState.STOPPING,  # SHUTDOWN
    13: NodeState.STOPPING,  # CANCEL
    16: NodeState.UNKNOWN,  # the host does not answer
    17: NodeState.RUNNING,  # HOTPLUG
    23: NodeState.STOPPING,  # CLEANUP_DELETE
    **dict.fromkeys(_FAILURES, NodeState.ERROR),
}


class OpenNebulaError(LibcloudError):
    """Raised when OpenNebula says no; `status` is HTTP's nearest."""

    def __init__(self, code: int, message: str, driver: Any = None) -> None:
        super().__init__(message, driver)
        full = "quota" in message.lower() and "limit" in message.lower()
        self.status, self.message = (507 if full else _STATUS.get(code, 500)), message


class _Transport(xmlrpc.client.Transport):
    """HTTP that does not wait for ever, and asks once: the library's own asks again where an answer was lost."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout

    def make_connection(self, host: Any) -> Any:
        """A connection with our time-out."""
        connection = super().make_connection(host)
        connection.timeout = self._timeout
        return connection

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Ask, by a new connection: one that was kept may be closed at the other end."""
        try:
            return self.single_request(host, handler, request_body, verbose)
        finally:
            self.close()


class _SafeTransport(_Transport, xmlrpc.client.SafeTransport):
    """The same over TLS."""


class OpenNebulaNodeDriver(NodeDriver):
    """Machines of one user. Sizes are templates; an image replaces the template's disk."""

    type = PROVIDER
    name = "OpenNebula"
    website = "https://opennebula.io"

    def __init__(self, key: str, secret: str, *, endpoint: str, timeout: float) -> None:
        self._session = f"{key}:{secret}"
        safe = urlsplit(endpoint).scheme == "https"
        transport = _SafeTransport(timeout) if safe else _Transport(timeout)
        self._server = xmlrpc.client.ServerProxy(endpoint, transport=transport)
        super().__init__(key, secret)

    def ask(self, method: str, *arguments: Any) -> Any:
        """What the method answers."""
        good, answer, code, *_ = getattr(self._server, method)(self._session, *arguments)
        if not good:
            raise OpenNebulaError(code, answer, self)
        return answer

    def read(self, method: str, *arguments: Any) -> ET.Element:
        """The XML that the method answers."""
        return ET.fromstring(self.ask(method, *arguments))  # noqa: S314 (of the cloud that we trust with machines)

    def list_nodes(self) -> list[Node]:
        """All our machines that are not done."""
        pool = self.read("one.vmpool.infoextended", MINE, -1, -1, ALL_BUT_DONE, "")
        return [self._node(vm) for vm in pool.findall("VM")]

    def ex_get_node(self, node_id: str) -> Node:
        """The machine."""
        return self._node(self.read("one.vm.info", int(node_id)))

    def create_node(  # type: ignore[override]
        self,
        name: str,
        size: NodeSize,
        image: NodeImage,
        network: str,
        ex_nic: Mapping[str, str],
        ex_context: Mapping[str, str],
        ex_tags: Mapping[str, str],
    ) -> Node:
        """A machine of the template, with this one disk and this one interface."""
        nic = {"NETWORK_ID": network, **ex_nic}
        extra = [vector("DISK", {"IMAGE_ID": image.id}), vector("NIC", nic), vector("CONTEXT", ex_context)]
        extra += [f"{tag_name(key)}={quoted(value)}" for key, value in ex_tags.items()]
        made = self.ask("one.template.instantiate", int(str(size.id)), name, False, "\n".join(extra), False)
        return self.ex_get_node(made)

    def destroy_node(self, node: Node) -> bool:
        """Remove the machine and its disk, whatever it does."""
        self.ask("one.vm.action", "terminate-hard", int(str(node.id)))
        return True

    def list_sizes(self, location: NodeLocation | None = None) -> list[NodeSize]:
        """The templates that we may use."""
        pool = self.read("one.templatepool.info", USABLE, -1, -1)
        return [self._size(template) for template in pool.findall("VMTEMPLATE")]

    def list_images(self, location: NodeLocation | None = None) -> list[NodeImage]:
        """The images that we may use."""
        pool = self.read("one.imagepool.info", USABLE, -1, -1)
        return [self._image(image) for image in pool.findall("IMAGE")]

    def ex_list_networks(self) -> list[NodeLocation]:
        """The virtual networks that we may use, as something with an id and a name."""
        pool = self.read("one.vnpool.info", USABLE, -1, -1)
        return [NodeLocation(text(net, "ID"), text(net, "NAME"), "", self) for net in pool.findall("VNET")]

    def ex_quota(self) -> dict[str, float]:
        """The figures of our own quota of machines, by OpenNebula's names; none where we have none."""
        found = self.read("one.user.info", -1).find("VM_QUOTA/VM")
        return {} if found is None else {each.tag: float(each.text or 0) for each in found}

    def _node(self, vm: ET.Element) -> Node:
        state, lcm = int(text(vm, "STATE")), int(text(vm, "LCM_STATE"))
        found = _ACTIVE_STATES.get(lcm, NodeState.PENDING) if state == ACTIVE else _STATES.get(state, NodeState.PENDING)
        own = {each.tag: each.text or "" for each in vm.findall("USER_TEMPLATE/*")}
        addresses = [each.text for each in vm.findall("TEMPLATE/NIC/IP") if each.text]
        extra = {"attributes": own, "error": own.get("ERROR")}
        return Node(text(vm, "ID"), text(vm, "NAME"), found, [], addresses, driver=self, extra=extra)

    def _size(self, template: ET.Element) -> NodeSize:
        has = template.find("TEMPLATE")
        cores = int(float(text(has, "VCPU") or text(has, "CPU") or 1))
        gpus = [pci for pci in template.findall("TEMPLATE/PCI") if text(pci, "CLASS")[:2] in ("", "03")]
        extra = {"cores": cores, "gpus": len(gpus), "gpu_model": text(has, "GPU_MODEL")}
        memory, disk = int(float(text(has, "MEMORY") or 0)), int(float(text(has, "DISK/SIZE") or 0)) // 1024
        return NodeSize(text(template, "ID"), text(template, "NAME"), memory, disk, 0, 0.0, self, extra=extra)

    def _image(self, image: ET.Element) -> NodeImage:
        made = text(image, "REGTIME")
        return NodeImage(text(image, "ID"), text(image, "NAME"), self, extra={"created": made})


def text(element: ET.Element | None, path: str) -> str:
    """The text at the path, or none."""
    return "" if element is None else (element.findtext(path) or "")


def tag_name(key: str) -> str:
    """A tag as an attribute: OpenNebula writes them large, without hyphens."""
    return key.upper().replace("-", "_")


def vector(name: str, pairs: Mapping[str, str]) -> str:
    """An attribute that has parts, in the syntax of OpenNebula's templates."""
    parts: Sequence[str] = [f"{key}={quoted(value)}" for key, value in pairs.items()]
    return f"{name}=[{', '.join(parts)}]"


def quoted(value: str) -> str:
    """A value in the syntax of OpenNebula's templates."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
