"""Pools over real machines: one that breaks while it waits, and nodes that belong to nobody."""

from __future__ import annotations

import io
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import httpx2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image

from tests.demo import Demo
from tests.screens import colours
from tests.waiting import until

POOL = "light-dl"


def machines(admin: httpx2.Client) -> list[dict[str, Any]]:
    """The pool's machines that are not gone."""
    found: list[dict[str, Any]] = admin.get("/admin/machines").raise_for_status().json()
    return [machine for machine in found if machine["pool"] == POOL]


def node_of(demo: Demo, machine_id: int) -> str:
    """The cloud's own name of a machine."""
    with sqlite3.connect(f"file:{demo.folder}/var/beamdesk.sqlite3?mode=ro", uri=True) as database:
        [[node]] = database.execute("select node_id from machines where id = ?", [machine_id])
    return str(node)


def inside(node: str, command: str) -> None:
    """Run a command in the node's files, as its root."""
    pids = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _is_in(entry, node)]
    line = ["nsenter", "--mount", "--target", pids[0], "sh", "-c", command]
    subprocess.run(line, check=True, timeout=20)


def _is_in(process: Path, node: str) -> bool:
    try:
        return (process / "comm").read_text() == "sshd\n" and node in (process / "cgroup").read_text()
    except OSError:
        return False


def test_a_machine_that_breaks_while_it_waits_is_kept_aside_with_its_picture(demo: Demo) -> None:
    """Its desktop would stay empty: the probe sees it before a user does, and another machine takes its place."""
    with demo.client("admin") as admin:
        until(lambda: [m["state"] for m in machines(admin)] == ["vacant"], "the pool at its target", 120)
        [broken] = machines(admin)
        empty = """sed -i 's/"command": .*/"command": ["sleep", "1000"],/' /etc/beamdesk/desktop.json"""
        inside(node_of(demo, broken["id"]), empty)

        def states() -> dict[int, str]:
            return {machine["id"]: machine["state"] for machine in machines(admin)}

        until(lambda: states().get(broken["id"]) == "failed", "the probe to see it", 120)
        picture = admin.get(f"/admin/machines/{broken['id']}/evidence").raise_for_status().content
        assert colours(Image.open(io.BytesIO(picture)).convert("RGB")) < 100
        until(lambda: "vacant" in states().values(), "another machine", 120)
        admin.post(f"/admin/machines/{broken['id']}/retry").raise_for_status()
        until(lambda: broken["id"] not in states(), "the broken one to go", 60)


def authority() -> str:
    """A new authority's public key."""
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def test_orphans_are_removed_and_what_is_not_ours_is_never_touched(demo: Demo) -> None:
    """A node with our tag and no row goes; one of somebody else's stays."""
    transport = httpx2.HTTPTransport(uds=f"{demo.folder}/var/run/localcloud.sock")
    wish = {"size": "small", "image": "host", "location": "ral", "ssh_ca": authority(), "name": "stray"}
    with httpx2.Client(transport=transport, base_url="http://cloud/v1", timeout=30) as cloud:

        def create(**tags: str) -> str:
            made = cloud.post("/nodes", json={**wish, "tags": tags, "request_id": None}).raise_for_status().json()
            return str(made["id"])

        def nodes() -> set[str]:
            found = cloud.get("/nodes").raise_for_status().json()
            return {node["id"] for node in found if node["state"] in ("pending", "running")}

        deployment = demo.deployment
        ours, theirs = create(**{"beamdesk-deployment": deployment}), create(**{"beamdesk-deployment": "another"})
        assert {ours, theirs} <= nodes()
        until(lambda: ours not in nodes(), "the orphan to go", 120)
        assert theirs in nodes()
        cloud.delete(f"/nodes/{theirs}").raise_for_status()
