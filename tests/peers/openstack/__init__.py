"""A real OpenStack on this machine: Keystone, Placement, Glance, Neutron and Nova with its fake hypervisor.

Nodes get an address and run as far as the API tells; there is no guest, and nothing forwards packets. It needs no root
and no service of the system: a process for each service, databases of SQLite.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2

from tests.peers.openstack import configuration, seed
from tests.peers.openstack.configuration import HOST, PASSWORD, REGION, Places
from tests.ports import free_port
from tests.waiting import until

SERVE = Path(__file__).with_name("services") / "serve.py"
NAMES = ("keystone", "placement", "glance", "neutron", "nova")


@dataclass(frozen=True)
class OpenStack:
    """A running cloud, and the account of its administrator. All its logs are in `folder`."""

    auth_url: str
    compute_url: str
    folder: Path
    pids: tuple[int, ...]
    username: str = "admin"
    password: str = PASSWORD
    project: str = "admin"
    domain: str = "Default"
    region: str = REGION


@contextmanager
def openstack(folder: Path, venv: Path) -> Iterator[OpenStack]:
    """A cloud that keeps all it has in `folder`, run by the Python of `venv`; ready when its host is."""
    places = Places(folder, venv, _free_ports())
    configuration.write(places)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in NAMES:
            processes[name] = _start(name, places)
        _make_ready(places, processes)
        pids = tuple(process.pid for process in processes.values())
        yield OpenStack(places.url("keystone"), f"{places.url('nova')}/v2.1", folder, pids)
    finally:
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.wait()


def processes_of(folder: Path) -> set[int]:
    """The numbers of all processes of the cloud that keeps what it has there."""
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _names(folder, entry)}


def _names(folder: Path, entry: Path) -> bool:
    try:
        return f"TMPDIR={folder}\0".encode() in (entry / "environ").read_bytes()
    except OSError:
        return False


def _free_ports() -> dict[str, int]:
    ports: set[int] = set()
    while len(ports) < len(NAMES):
        ports.add(free_port(HOST))
    return dict(zip(NAMES, ports, strict=True))


def _start(name: str, places: Places) -> subprocess.Popen[bytes]:
    """The service, which dies with us even if we are killed."""
    python = str(places.venv / "bin/python")
    command = ["setpriv", "--pdeathsig", "KILL", python, str(SERVE), name, str(places.ports[name])]
    with places.log(name).open("wb") as log:
        return subprocess.Popen(command, env=places.environment(name), stdout=log, stderr=log)


def _make_ready(places: Places, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Seed each service as soon as it answers."""
    seeds: dict[str, Callable[[httpx2.Client, Places], None]] = {
        "neutron": seed.seed_network,
        "glance": seed.seed_image,
        "nova": seed.seed_flavours,
    }
    until(partial(_answers, "keystone", places, processes), "keystone to answer", 180)
    with httpx2.Client(timeout=60) as client:
        seed.sign_in(client, places.url("keystone"))
        seed.seed_catalogue(client, places)
        for name, seed_service in seeds.items():
            until(partial(_answers, name, places, processes), f"{name} to answer", 180)
            seed_service(client, places)
        until(lambda: _has_host(client, places), "the host to be up", 180)


def _answers(name: str, places: Places, processes: Mapping[str, subprocess.Popen[bytes]]) -> bool:
    for other, process in processes.items():
        if process.poll() is not None:
            raise RuntimeError(f"{other} ended as it started:\n{places.log(other).read_text()[-4000:]}")
    try:
        return httpx2.get(places.url(name), timeout=10).status_code < 500
    except httpx2.TransportError:
        return False


def _has_host(client: httpx2.Client, places: Places) -> bool:
    hypervisors = client.get(f"{places.url('nova')}/v2.1/os-hypervisors").raise_for_status().json()["hypervisors"]
    return any(one["state"] == "up" for one in hypervisors)


def add_region(cloud: Mapping[str, str], name: str, compute_url: str) -> None:
    """A second region of the cloud with these options, whose Nova is reached at another address."""
    keystone = f"{cloud['auth_url'].removesuffix('/v3')}/v3"
    with httpx2.Client(timeout=60) as client:
        seed.sign_in(client, cloud["auth_url"].removesuffix("/v3"))
        services = {each["id"]: each["type"] for each in client.get(f"{keystone}/services").json()["services"]}
        known = client.get(f"{keystone}/endpoints").raise_for_status().json()["endpoints"]
        for each in [one for one in known if one["region"] == REGION]:
            url = compute_url if services[each["service_id"]] == "compute" else each["url"]
            wish = {"service_id": each["service_id"], "interface": "public", "url": url, "region": name}
            client.post(f"{keystone}/endpoints", json={"endpoint": wish}).raise_for_status()
