"""What a new cloud gets: a catalogue, flavours, an image and a network."""

from __future__ import annotations

import struct
from typing import Any

import httpx2

from tests.peers.openstack.configuration import PASSWORD, REGION, Places

FLAVOURS = {"m1.tiny": (512, 1, 1), "m1.small": (2048, 1, 10), "m1.large": (8192, 4, 20), "g1.large": (16384, 4, 20)}
TYPES = {"placement": "placement", "glance": "image", "neutron": "network", "nova": "compute"}


def sign_in(client: httpx2.Client, keystone: str) -> None:
    """As the administrator, who may do everything."""
    user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
    identity = {"methods": ["password"], "password": {"user": user}}
    project = {"project": {"name": "admin", "domain": {"id": "default"}}}
    wish = {"auth": {"identity": identity, "scope": project}}
    answer = client.post(f"{keystone}/v3/auth/tokens", json=wish)
    client.headers["X-Auth-Token"] = answer.raise_for_status().headers["X-Subject-Token"]


def seed_catalogue(client: httpx2.Client, places: Places) -> None:
    """Where each service is."""
    for name, type_ in TYPES.items():
        url = places.url(name) + ("/v2.1" if name == "nova" else "")
        service = _made(client, f"{places.url('keystone')}/v3/services", service={"name": name, "type": type_})
        endpoint = {"service_id": service["id"], "interface": "public", "url": url, "region": REGION}
        _made(client, f"{places.url('keystone')}/v3/endpoints", endpoint=endpoint)


def seed_network(client: httpx2.Client, places: Places) -> None:
    """One network for all, and one outside with floating addresses for it."""
    network = _made(client, f"{places.url('neutron')}/v2.0/networks", network={"name": "net1", "shared": True})
    subnet = {"network_id": network["id"], "ip_version": 4, "cidr": "10.77.0.0/16", "enable_dhcp": False}
    inside = _made(client, f"{places.url('neutron')}/v2.0/subnets", subnet={**subnet, "name": "subnet1"})
    outside = _made(
        client, f"{places.url('neutron')}/v2.0/networks", network={"name": "public", "router:external": True}
    )
    subnet |= {"network_id": outside["id"], "cidr": "203.0.113.0/24", "name": "subnet2"}
    _made(client, f"{places.url('neutron')}/v2.0/subnets", subnet=subnet)
    gateway = {"external_gateway_info": {"network_id": outside["id"]}, "name": "router1"}
    router = _made(client, f"{places.url('neutron')}/v2.0/routers", router=gateway)
    leg = f"{places.url('neutron')}/v2.0/routers/{router['id']}/add_router_interface"
    client.put(leg, json={"subnet_id": inside["id"]}).raise_for_status()


def seed_image(client: httpx2.Client, places: Places) -> None:
    """One image for all."""
    images = f"{places.url('glance')}/v2/images"
    image = {"name": "desktop-1", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
    made = client.post(images, json={**image, "min_disk": 1}).raise_for_status().json()
    octets = {"Content-Type": "application/octet-stream"}
    client.put(f"{images}/{made['id']}/file", content=empty_qcow2(), headers=octets).raise_for_status()


def seed_flavours(client: httpx2.Client, places: Places) -> None:
    """Sizes; one has a GPU."""
    flavours = f"{places.url('nova')}/v2.1/flavors"
    for name, (memory, cores, disk) in FLAVOURS.items():
        made = _made(client, flavours, flavor={"name": name, "ram": memory, "vcpus": cores, "disk": disk})
        if name.startswith("g1"):
            gpu = {"extra_specs": {"pci_passthrough:alias": "a100:1"}}
            client.post(f"{flavours}/{made['id']}/os-extra_specs", json=gpu).raise_for_status()


def _made(client: httpx2.Client, url: str, **body: dict[str, Any]) -> dict[str, Any]:
    (kind,) = body
    made: dict[str, Any] = client.post(url, json=body).raise_for_status().json()[kind]
    return made


def empty_qcow2() -> bytes:
    """A disk of 1 MB with nothing on it, for Glance looks whether it really is one.

    QEMU's docs/interop/qcow2.txt: clusters of the header, the refcount table, its only block, and the L1 table.
    """
    cluster = 65536
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 0, 1, 3 * cluster, cluster, 1, 0, 0
    )  # magic, version, backing file (2), cluster bits, size, no encryption, L1 (2), refcounts (2), snapshots (2)
    clusters = (header, struct.pack(">Q", 2 * cluster), struct.pack(">4H", 1, 1, 1, 1), b"")
    return b"".join(part.ljust(cluster, b"\0") for part in clusters)
