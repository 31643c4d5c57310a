"""The recorded wire of Google Compute Engine's API: what broker/clouds/gce.py asks of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from libcloud.common.google import GoogleServiceAcctAuthConnection
from libcloud.compute.drivers.gce import GCEConnection

from tests.peers.wires import CONSOLE, Answer, Asked, connection_to, serving

PROJECT, REGION, ZONE = "desktops", "europe-west2", "europe-west2-a"
API = "https://www.googleapis.com"
BASE = f"/compute/v1/projects/{PROJECT}"
ACCOUNT = "broker@desktops.iam.gserviceaccount.com"
CORES, NODES = 20, 10  # the quota of the region
SIZES = {"e2-micro": (1, 1024, 0), "e2-standard-8": (8, 32768, 0), "g2-standard-4": (4, 16384, 1)}
PAGE = 2


class Gce:
    """One project with one zone. Machines take a look to start, and one to go."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Any]] = {}
        self.disks: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.takes_its_time = False  # its operations are never done
        self._numbers = iter(range(2, 100_000))

    def answer(self, asked: Asked) -> Answer:
        """As Google answers."""
        if asked.path == "/o/oauth2/token":
            return _token(asked)
        if asked.headers.get("Authorization") != "Bearer token":
            return _error(401, "authError", "Invalid Credentials")
        path = asked.path.removeprefix(BASE)
        for begin, serve in (
            (f"/zones/{ZONE}/instances", self._instances),
            (f"/zones/{ZONE}/operations/", self._operation),
            (f"/zones/{ZONE}/disks", self._disks),
        ):
            if path.startswith(begin):
                return serve(asked, path.removeprefix(begin).strip("/"))
        return self._fixed(asked, path)

    def _instances(self, asked: Asked, rest: str) -> Answer:
        name, _, deed = rest.partition("/")
        if not name:
            return self._insert(asked.json) if asked.method == "POST" else self._list(asked)
        known = self.machines.get(name)
        if known is None:
            return _missing(asked)
        if asked.method == "DELETE":
            known["status"] = "STOPPING"
            return 200, self._operate("delete", known["selfLink"])
        if deed == "serialPort":
            return 200, {"kind": "compute#serialPortOutput", "contents": CONSOLE}
        seen = dict(known)
        self._go_on(name)
        return 200, seen

    def _list(self, asked: Asked) -> Answer:
        answer = _page(asked, "compute#instanceList", list(self.machines.values()))
        if "nextPageToken" not in answer:
            for name in list(self.machines):
                self._go_on(name)
        return 200, answer

    def _go_on(self, name: str) -> None:
        """What Google does meanwhile, one step at each look."""
        machine = self.machines[name]
        if machine["status"] == "STOPPING":
            del self.machines[name]
            for disk in machine["disks"]:
                if disk["autoDelete"]:
                    del self.disks[disk["source"].rpartition("/")[2]]
        machine["status"] = "RUNNING"

    def _insert(self, wish: dict[str, Any]) -> Answer:
        name = wish["name"]
        link = f"{API}{BASE}/zones/{ZONE}/instances/{name}"
        if name in self.machines:
            return _error(409, "alreadyExists", f"The resource '{link}' already exists")
        if self._cores() + SIZES[wish["machineType"].rpartition("/")[2]][0] > CORES:
            said = {
                "code": "QUOTA_EXCEEDED",
                "message": f"Quota 'CPUS' exceeded.  Limit: {CORES}.0 in region {REGION}.",
            }
            return 200, self._operate("insert", link, error={"errors": [said]})
        [disk], [interface] = wish["disks"], wish["networkInterfaces"]
        image = disk.pop("initializeParams")["sourceImage"]
        source = f"{API}{BASE}/zones/{ZONE}/disks/{name}"
        self.disks[name] = _thing(
            "compute#disk", name, source, sizeGb="10", sourceImage=image, zone=f"{API}{BASE}/zones/{ZONE}"
        )
        self.machines[name] = {
            **wish,
            **_thing("compute#instance", name, link, zone=f"{API}{BASE}/zones/{ZONE}", status="STAGING"),
            "disks": [{**disk, "source": source}],
            "networkInterfaces": [{**interface, "networkIP": f"10.154.0.{next(self._numbers)}"}],
            "tags": {"fingerprint": "42WmSpB8rSM=", **wish.get("tags", {})},
        }
        return 200, self._operate("insert", link)

    def _operate(self, kind: str, target: str, **more: Any) -> dict[str, Any]:
        name = f"operation-{next(self._numbers)}"
        place = f"{API}{BASE}/zones/{ZONE}"
        known = _thing("compute#operation", name, f"{place}/operations/{name}", operationType=kind, targetLink=target)
        self.operations[name] = {**known, "status": "DONE", "zone": place, **more}
        return {**known, "status": "RUNNING", "zone": place}

    def _operation(self, asked: Asked, name: str) -> Answer:
        if name not in self.operations:
            return _missing(asked)
        return 200, {**self.operations[name], **({"status": "RUNNING"} if self.takes_its_time else {})}

    def _disks(self, asked: Asked, name: str) -> Answer:
        if not name:
            return 200, _page(asked, "compute#diskList", list(self.disks.values()))
        return (200, self.disks[name]) if name in self.disks else _missing(asked)

    def _cores(self) -> int:
        return sum(SIZES[machine["machineType"].rpartition("/")[2]][0] for machine in self.machines.values())

    def _region(self) -> dict[str, Any]:
        zones = [f"{API}{BASE}/zones/{ZONE}"]
        quotas = [
            {"metric": "CPUS", "limit": float(CORES), "usage": float(self._cores())},
            {"metric": "INSTANCES", "limit": float(NODES), "usage": float(len(self.machines))},
        ]
        return _thing(
            "compute#region", REGION, f"{API}{BASE}/regions/{REGION}", zones=zones, quotas=quotas, status="UP"
        )

    def _fixed(self, asked: Asked, path: str) -> Answer:
        """What is there from the beginning, and lists of it."""
        region = self._region()
        zone = _thing("compute#zone", ZONE, f"{API}{BASE}/zones/{ZONE}", region=region["selfLink"], status="UP")
        things = [region, zone, *FIXED]
        for thing in things:
            if thing["selfLink"] == f"{API}{asked.path}":
                return 200, thing
        within = [thing for thing in things if thing["selfLink"].rpartition("/")[0] == f"{API}{asked.path}"]
        if within:
            return 200, _page(asked, f"{within[0]['kind']}List", within)
        if path == "/aggregated/disks":
            return 200, {"items": {f"zones/{ZONE}": {"disks": list(self.disks.values())}}}
        return _missing(asked)


def _thing(kind: str, name: str, link: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "id": str(abs(hash(link))), "name": name, "selfLink": link, **more}


def _size(name: str, cores: int, memory: int, gpus: int) -> dict[str, Any]:
    more: dict[str, Any] = {"guestCpus": cores, "memoryMb": memory, "zone": ZONE}
    if gpus:
        more["accelerators"] = [{"guestAcceleratorType": "nvidia-l4", "guestAcceleratorCount": gpus}]
    return _thing("compute#machineType", name, f"{API}{BASE}/zones/{ZONE}/machineTypes/{name}", **more)


_DEBIAN = "/compute/v1/projects/debian-cloud/global/images"
FIXED = [
    *(_size(name, *has) for name, has in SIZES.items()),
    _thing("compute#image", "desktop-1", f"{API}{BASE}/global/images/desktop-1", status="READY", family="desktop"),
    _thing("compute#image", "desktop-1", f"{API}{BASE}/global/images/family/desktop", status="READY", family="desktop"),
    _thing("compute#image", "debian-12-v1", f"{API}{_DEBIAN}/family/debian-12", status="READY", family="debian-12"),
    _thing("compute#network", "default", f"{API}{BASE}/global/networks/default", autoCreateSubnetworks=True),
    _thing(
        *("compute#subnetwork", "machines", f"{API}{BASE}/regions/{REGION}/subnetworks/machines"),
        **{"region": f"{API}{BASE}/regions/{REGION}", "network": f"{API}{BASE}/global/networks/default"},
        **{"ipCidrRange": "10.154.0.0/20", "gatewayAddress": "10.154.0.1"},
    ),
    _thing("compute#diskType", "pd-balanced", f"{API}{BASE}/zones/{ZONE}/diskTypes/pd-balanced", zone=ZONE),
]


def _page(asked: Asked, kind: str, all_: list[dict[str, Any]]) -> dict[str, Any]:
    begin = int(asked.query.get("pageToken", 0))
    answer: dict[str, Any] = {"kind": kind, "items": [dict(each) for each in all_[begin : begin + PAGE]]}
    if begin + PAGE < len(all_):
        answer["nextPageToken"] = str(begin + PAGE)
    return answer


def _token(asked: Asked) -> Answer:
    if b"grant-type%3Ajwt-bearer" not in asked.body:
        return 400, {"error": "unsupported_grant_type"}
    return 200, {"access_token": "token", "token_type": "Bearer", "expires_in": 3600}


def _error(status: int, reason: str, message: str) -> Answer:
    errors = [{"domain": "global", "reason": reason, "message": message}]
    return status, {"error": {"code": status, "errors": errors, "message": message}}


def _missing(asked: Asked) -> Answer:
    return _error(404, "notFound", f"The resource '{asked.path.removeprefix('/compute/v1/')}' was not found")


def key_file() -> str:
    """A service account's key, as Google's console gives it."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"type": "service_account", "client_email": ACCOUNT, "private_key": pem})


@contextmanager
def gce() -> Iterator[Gce]:
    """The wire; for as long, Libcloud's driver of Google speaks to it, and waits less for Google's operations."""
    wire = Gce()
    with serving(wire.answer) as port, ExitStack() as patches:
        for connection in (GoogleServiceAcctAuthConnection, GCEConnection):
            patches.enter_context(patch.object(connection, "conn_class", connection_to(port)))
        patches.enter_context(patch.object(GCEConnection, "poll_interval", 0.01))
        yield wire
