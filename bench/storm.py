"""As many people as the machine holds click at the same instant, on as many vacant machines."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Any

import httpx2

from bench.rows import Row, percentile, write
from tests.demo import Demo, running_demo
from tests.waiting import until

SUBNET = "10.231.45.0/24"
PEOPLE = 70
MACHINES = f"target = {PEOPLE}\nlimit = {PEOPLE}"
POOL = 'environment = "light"\nsize = "small"\ncloud = "ral"\n'
CHANGES = {
    "max_nodes = 40": f"max_nodes = {PEOPLE + 10}",
    "concurrent_builds = 2": "concurrent_builds = 4",
    f"{POOL}target = 2\nlimit = 6": f"{POOL}{MACHINES}",
    # Nobody else's building is measured.
    "target = 1": "target = 0",
    "[accounts.alice]": "\n".join(
        f'[accounts.p{n}]\nfull_name = "Person {n}"\npassword = "beamtime"' for n in range(PEOPLE)
    )
    + "\n[accounts.alice]",
}


def _vacant(admin: httpx2.Client) -> int:
    machines: list[dict[str, Any]] = admin.get("/admin/machines").raise_for_status().json()
    return sum(machine["state"] == "vacant" for machine in machines)


def click(client: httpx2.Client, together: Barrier) -> dict[str, Any]:
    """One person's launch, and the session once it is ready or failed."""
    together.wait()
    id_ = client.post("/sessions", json={"environment": "light"}).raise_for_status().json()["id"]
    session: dict[str, Any] = {}

    def settled() -> bool:
        session.update(client.get(f"/sessions/{id_}").raise_for_status().json())
        return session["state"] in ("ready", "failed")

    until(settled, f"session {id_}", 180, every=1)
    return session


def storm(demo: Demo, stack: ExitStack) -> list[Row]:
    """Fill the pool, then click."""
    admin = stack.enter_context(demo.client("admin"))
    people = [stack.enter_context(demo.client(f"p{n}")) for n in range(PEOPLE)]
    began = time.monotonic()
    until(lambda: _vacant(admin) >= PEOPLE, f"{PEOPLE} vacant machines", 900, every=1)
    filled = time.monotonic() - began
    together = Barrier(PEOPLE)
    with ThreadPoolExecutor(PEOPLE) as threads:
        sessions = list(threads.map(lambda person: click(person, together), people))
    ready = [session["launch"]["ready"] for session in sessions if session["state"] == "ready"]
    held = [m["session"] for m in admin.get("/admin/machines").json() if m["session"] is not None]
    twice = len(held) - len(set(held))
    note = f"{PEOPLE} people, {PEOPLE} vacant machines on this one host"
    return [
        Row("storm, sessions ready", len(ready), "sessions", target=PEOPLE, met=len(ready) == PEOPLE, note=note),
        Row("storm, errors and machines given twice", PEOPLE - len(ready) + twice, "", target=0, met=not twice),
        Row("storm, click to ready, p50", percentile(ready, 0.5), "s", note=note),
        Row("storm, click to ready, p100", max(ready), "s", note=note),
        Row("pool filled", filled / PEOPLE, "s/machine", note=f"{PEOPLE} machines, 4 builds at a time"),
    ]


def main() -> None:
    """A demo of its own, with one large pool."""
    with running_demo(SUBNET, CHANGES) as demo, ExitStack() as stack:
        write(storm(demo, stack))
