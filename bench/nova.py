"""A stand-in for twenty OpenStacks: Keystone's v3 tokens, and Nova's list of servers in its wire format and in pages.

It runs as a process of its own, so that what it costs is in nobody's figures; it answers no more than that and limits.
"""

from __future__ import annotations

import json
import uuid
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from broker.clouds.adapter import CLOUD, DEPLOYMENT, MACHINE, REQUEST

CLOUDS, NODES, PAGE = 20, 500, 100
SERVICES = {"compute": "nova", "identity": "keystone", "image": "glance", "network": "neutron"}
LIMITS = {
    **{"maxTotalInstances": -1, "maxTotalCores": -1, "maxTotalRAMSize": -1},
    **{"totalInstancesUsed": NODES, "totalCoresUsed": NODES, "totalRAMUsed": NODES},
}
LISTED = {"lists": 0, "pages": 0}  # since the process began


def machine_id(cloud: int, node: int) -> int:
    """The machine behind this node, counted through all clouds from 1."""
    return cloud * NODES + node + 1


def node_id(machine: int) -> str:
    """Nova's id of the machine's server."""
    return str(uuid.UUID(int=machine))


def server(cloud: int, node: int) -> dict[str, Any]:
    """One server, with all that Nova 2.1 says of it to its owner."""
    machine = machine_id(cloud, node)
    address = f"10.{cloud}.{node // 250}.{node % 250 + 1}"
    id_ = node_id(machine)
    return {
        "id": id_,
        "name": f"bench-light-{machine}",
        "status": "ACTIVE",
        "tenant_id": "9e58d5b40b8b4d3eb7cd8a3b6a5f1b52",
        "user_id": "5c1a7f4bd64f4d6fb3a7f3d5b1f0a9c4",
        "metadata": {
            DEPLOYMENT: "bench",
            MACHINE: str(machine),
            CLOUD: f"c{cloud}",
            REQUEST: f"bench-machine-{machine}",
        },
        "hostId": "f2c9d1a4e9b7463ca5a3f6f5c4b6f2d3a7c1d9e8b7a6f5e4d3c2b1a0",
        "image": {"id": "70a599e0-31e7-49b7-b260-868f441e862b", "links": [{"rel": "bookmark", "href": "http://x/i/1"}]},
        "flavor": {"id": "1", "links": [{"rel": "bookmark", "href": "http://x/flavors/1"}]},
        "created": "2026-11-20T10:00:00Z",
        "updated": "2026-11-20T10:01:00Z",
        "addresses": {
            "net1": [
                {
                    "version": 4,
                    "addr": address,
                    "OS-EXT-IPS:type": "fixed",
                    "OS-EXT-IPS-MAC:mac_addr": f"fa:16:3e:{cloud:02x}:{node // 256:02x}:{node % 256:02x}",
                }
            ]
        },
        "accessIPv4": "",
        "accessIPv6": "",
        "links": [{"rel": "self", "href": f"http://x/v2.1/servers/{id_}"}, {"rel": "bookmark", "href": "http://x/s/1"}],
        "OS-DCF:diskConfig": "MANUAL",
        "progress": 0,
        "OS-EXT-AZ:availability_zone": "nova",
        "config_drive": "True",
        "key_name": None,
        "OS-SRV-USG:launched_at": "2026-11-20T10:01:00.000000",
        "OS-SRV-USG:terminated_at": None,
        "security_groups": [{"name": "default"}],
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:power_state": 1,
        "os-extended-volumes:volumes_attached": [],
    }


@cache
def page(root: str, cloud: int, begin: int) -> bytes:
    """The servers from `begin` on, and where the next ones are."""
    end = min(NODES, begin + PAGE)
    body: dict[str, Any] = {"servers": [server(cloud, node) for node in range(begin, end)]}
    if end < NODES:
        marker = node_id(machine_id(cloud, end - 1))
        body["servers_links"] = [{"rel": "next", "href": f"{root}/{cloud}/v2.1/servers/detail?marker={marker}"}]
    return json.dumps(body).encode()


@cache
def token(root: str, cloud: int) -> bytes:
    """What Keystone says of a fresh token: where the services are, and when it ends."""
    catalogue = [
        {
            "id": name,
            "type": kind,
            "name": name,
            "endpoints": [
                {
                    "id": name,
                    "interface": "public",
                    "region": "RegionOne",
                    "region_id": "RegionOne",
                    "url": f"{root}/{cloud}/v2.1",
                }
            ],
        }
        for kind, name in SERVICES.items()
    ]
    times = {"expires_at": "2126-11-21T10:00:00.000000Z", "issued_at": "2026-11-20T10:00:00.000000Z"}
    who = {"roles": [{"id": "1", "name": "member"}], "user": {"id": "1", "name": "bench"}, "methods": ["password"]}
    return json.dumps({"token": {**who, **times, "catalog": catalogue}}).encode()


class Handler(BaseHTTPRequestHandler):
    """Tokens and lists, at /NUMBER/…; how much was asked, at /listed."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A token for everybody."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, token(self._root, int(self.path.split("/")[1])), {"X-Subject-Token": "bench"})

    def do_GET(self) -> None:
        """A page of servers."""
        asked = urlsplit(self.path)
        if asked.path == "/listed":
            self._answer(200, json.dumps(LISTED).encode(), {})
            return
        if asked.path.endswith("/limits"):
            self._answer(200, json.dumps({"limits": {"rate": [], "absolute": LIMITS}}).encode(), {})
            return
        marker = parse_qs(asked.query).get("marker")
        begin = (uuid.UUID(marker[0]).int - 1) % NODES + 1 if marker else 0
        LISTED["pages"] += 1
        LISTED["lists"] += not marker
        self._answer(200, page(self._root, int(asked.path.split("/")[1]), begin), {})

    @property
    def _root(self) -> str:
        return f"http://{self.headers['Host']}"

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    """With room for all clouds' connections at once."""

    request_queue_size = 128


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as listening:
        print(listening.server_address[1], flush=True)
        listening.serve_forever()
