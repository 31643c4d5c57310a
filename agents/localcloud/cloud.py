"""The cloud: nodes and volumes, every step written down before it is done, so that a killed daemon goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.localcloud import cgroups, machine
from agents.localcloud.config import CloudError, Config, listed
from agents.localcloud.images import Images
from agents.localcloud.wishes import check_image, check_node, check_path, check_tags, check_volume

log = logging.getLogger(__name__)

REMEMBERED = 60.0  # seconds that a terminated node stays listed
SHOWN = ("id", "name", "state", "address", "size", "image", "location", "tags", "host_key", "created_at", "error")


class Cloud:
    """All of one state directory; one daemon at a time is at work in it."""

    def __init__(self, config: Config, state: Path) -> None:
        self.config, self.state = config, state
        self.family, self.bridge = names(state)
        self._lock = threading.RLock()
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="node")
        self._work: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._nodes: dict[str, dict[str, Any]] = {}
        (state / "volumes").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._images = Images(state / "images")
        machine.make_bridge(self.bridge, config.subnet)
        machine.make_records(state / "nodes")
        for path in (state / "nodes").iterdir():
            self._take_up(path)

    def _take_up(self, folder: Path) -> None:
        """Go on where an earlier daemon stopped: half-built nodes are built anew, half-removed ones removed."""
        try:
            node = json.loads((folder / "node.json").read_text())
        except (OSError, ValueError):
            machine.remove(folder, self.family, self.bridge)
            return
        self._nodes[node["id"]] = node
        self._threads.submit(self._advance, node)

    def close(self) -> None:
        """Begin nothing any more; back when what was begun is done. The next daemon goes on."""
        self._threads.shutdown(cancel_futures=True)

    def _advance(self, node: dict[str, Any]) -> None:
        """Do what the node's state asks for; one thread at a time, so that a removal finds a whole machine."""
        with self._lock:
            work = self._work[node["id"]]
        with work:
            doing = node["state"]
            try:
                if doing == "pending":
                    self._build(node)
                elif doing == "stopping":
                    self._remove(node)
            except Exception as error:
                log.warning("node %s failed while %s", node["id"], doing, exc_info=True)
                self._write(node, only_from=doing, state="error", error=str(error))

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes, those that ended lately too."""
        with self._lock:
            for node in list(self._nodes.values()):
                self._look_at(node)
            return [_shown(node) for node in self._nodes.values()]

    def _look_at(self, node: dict[str, Any]) -> None:
        if node["state"] == "running" and machine.birth(node["pid"]) != node["born"]:
            self._write(node, state="error", error="the machine's first process has ended")
        elif node["state"] == "terminated" and time.time() - node["ended"] > REMEMBERED:
            del self._nodes[node["id"]]
            self._work.pop(node["id"], None)

    def node(self, id_: str) -> dict[str, Any]:
        """One node."""
        with self._lock:
            self._look_at(self._find(id_))
            return _shown(self._find(id_))

    def _find(self, id_: str) -> dict[str, Any]:
        if id_ not in self._nodes:
            raise CloudError(404, "no-node", f"there is no node {id_}")
        return self._nodes[id_]

    def create(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Begin a node; the same `request_id` again is the same node."""
        with self._lock:
            check_node(self.config, {**self.config.images, **self._images.all()}, wish)
            same = [n for n in self._nodes.values() if wish.get("request_id") and n["request"] == wish["request_id"]]
            if same:
                return _shown(same[0])
            id_ = f"n-{secrets.token_hex(6)}"
            node: dict[str, Any] = {
                **{key: wish[key] for key in ("name", "size", "image", "location", "tags", "ssh_ca")},
                "id": id_,
                "state": "pending",
                "address": self._free_address(),
                "host_key": None,
                "created_at": datetime.now(UTC).isoformat(),
                "error": None,
                "request": wish.get("request_id"),
                "dial": wish.get("dial"),
            }
            self._nodes[id_] = node
            (self.state / "nodes" / id_).mkdir(mode=0o700)
            self._write(node)
            self._threads.submit(self._advance, node)
            return _shown(node)

    def _free_address(self) -> str:
        taken = {node["address"] for node in self._nodes.values() if node["state"] != "terminated"}
        if len(taken) >= self.config.max_nodes:
            raise CloudError(507, "full", f"this cloud holds at most {self.config.max_nodes} nodes")
        hosts = self.config.subnet.hosts()
        next(hosts)  # the host's own
        for address in hosts:
            if str(address) not in taken:
                return str(address)
        raise CloudError(507, "full", f"no address of {self.config.subnet} is free")

    def _build(self, node: dict[str, Any]) -> None:
        folder = self.state / "nodes" / node["id"]
        machine.clear(folder, self.family, self.bridge)  # an earlier daemon may have begun
        private, public = machine.new_host_key(folder)
        size = self.config.sizes[node["size"]]
        layer = None if node["image"] in self.config.images else str(self._images.path(node["image"]))
        spec = {**node, "host_private_key": private, "host_key": public, "layer": layer}
        (folder / "spec.json").write_text(json.dumps({**spec, "memory_mb": size.memory_mb}))
        cable = machine.Cable(self.bridge, self.config.subnet, node["address"], (node.get("dial") or {}).get("to"))
        pid = machine.start(folder, self.family, cable, size)
        born = machine.birth(pid) or 0
        machine.wait_for_sshd(folder, pid, born)
        self._write(node, only_from="pending", state="running", host_key=public, pid=pid, born=born)

    def destroy(self, id_: str) -> dict[str, Any]:
        """Begin to remove the node; asked again, it is the same."""
        with self._lock:
            node = self._find(id_)
            if node["state"] not in ("stopping", "terminated"):
                self._write(node, state="stopping")
                self._threads.submit(self._advance, node)
            return _shown(node)

    def _remove(self, node: dict[str, Any]) -> None:
        if node.get("pid"):
            machine.kill(node["pid"], node["born"])
        machine.remove(self.state / "nodes" / node["id"], self.family, self.bridge)
        with self._lock:
            node.update(state="terminated", ended=time.time())

    def tag(self, id_: str, tags: dict[str, str]) -> dict[str, Any]:
        """Give the node these tags."""
        check_tags(tags)
        with self._lock:
            node = self._find(id_)
            self._write(node, tags=tags)
            return _shown(node)

    def images(self) -> list[dict[str, Any]]:
        """The configured images, and those that were saved."""
        with self._lock:
            return [*listed(self.config.images), *self._images.all().values()]

    def save_image(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Keep what the node wrote over its base image; it stands still for some tenths of a second."""
        name, id_ = check_image(wish), str(wish.get("node"))
        with self._lock:
            node = self._find(id_)
            work = self._work[id_]
        with work:
            with self._lock:
                self._look_at(node)
                if node["state"] != "running":
                    raise CloudError(409, "not-running", f"node {id_} is {node['state']}")
                if node["image"] not in self.config.images:
                    raise CloudError(409, "layered", f"node {id_} was made from a saved image; build it from another")
            record = {"name": name, "base": node["image"], "tags": wish["tags"]}
            return self._images.save(self.state / "nodes" / id_, node["pid"], record)

    def drop_image(self, id_: str) -> None:
        """Delete the saved image, unless a node stands on it."""
        with self._lock:
            if id_ not in self._images.all():
                raise CloudError(404, "no-image", f"there is no saved image {id_}")
            users = [n["id"] for n in self._nodes.values() if n["image"] == id_ and n["state"] != "terminated"]
            if users:
                raise CloudError(409, "in-use", f"image {id_} is in use by {', '.join(users)}")
            gone = self._images.drop(id_)
        shutil.rmtree(gone)

    def volumes(self) -> list[dict[str, Any]]:
        """All volumes."""
        return [{"name": path.name, "owner": path.stat().st_uid} for path in sorted((self.state / "volumes").iterdir())]

    def make_volume(self, wish: dict[str, Any]) -> dict[str, Any]:
        """A folder of the owner's; the same name again is the same volume."""
        name, owner = check_volume(wish)
        path = self.state / "volumes" / name
        with self._lock:
            path.mkdir(mode=0o700, exist_ok=True)
            belongs_to = path.stat().st_uid
            if belongs_to not in (0, owner):
                raise CloudError(409, "another-owner", f"volume {name} is another owner's")
            if belongs_to != owner:
                os.chown(path, owner, owner)
        return {"name": name, "owner": owner}

    def drop_volume(self, name: str) -> None:
        """Delete the volume and all that is on it, unless it is attached."""
        path = self._volume(name)
        with self._lock:
            if any(name in node.get("volumes", {}) for node in self._nodes.values() if node["state"] != "terminated"):
                raise CloudError(409, "attached", f"volume {name} is attached")
            shutil.rmtree(path)

    def _volume(self, name: Any) -> Path:
        if name not in os.listdir(self.state / "volumes"):
            raise CloudError(404, "no-volume", f"there is no volume {name}")
        return self.state / "volumes" / str(name)

    def attach(self, id_: str, wish: dict[str, Any]) -> dict[str, Any]:
        """Show the volume in the node; attached already, it stays."""
        target, name = check_path(wish.get("path")), wish.get("volume")
        with self._lock:
            source, node = self._volume(name), self._find(id_)
            self._look_at(node)
            if node["state"] != "running":
                raise CloudError(409, "not-running", f"node {id_} is {node['state']}")
            attached = node.get("volumes", {})
            for other, there in attached.items():
                if (other == name) != (there == target):
                    raise CloudError(409, "attached", f"volume {other} is attached at {there} of node {id_} already")
            self._write(node, volumes={**attached, name: target})
            place = self.state / "nodes" / id_ / target.lstrip("/")
            try:
                if not os.path.ismount(place):
                    machine.show(source, place)
            except CloudError:
                self._write(node, volumes=attached)
                raise
        return {"volume": name, "path": target}

    def detach(self, id_: str, name: str) -> None:
        """Take the volume from the node; what is on it stays."""
        with self._lock:
            node = self._find(id_)
            target = node.get("volumes", {}).get(name)
            if target is None:
                return
            place = self.state / "nodes" / id_ / target.lstrip("/")
            if os.path.ismount(place):
                machine.run("umount", "-l", place)
            self._write(node, volumes={k: v for k, v in node["volumes"].items() if k != name})

    def _write(self, node: dict[str, Any], only_from: str | None = None, **values: Any) -> None:
        """Change the node's record, on disk and in memory, unless its state is no longer `only_from`."""
        with self._lock:
            if only_from is not None and node["state"] != only_from:
                return
            node.update(values)
            path = self.state / "nodes" / node["id"] / "node.json"
            with suppress(FileNotFoundError):  # the folder goes with its node
                fresh = path.with_suffix(".new")
                fresh.write_text(json.dumps(node))
                fresh.replace(path)


def names(state: Path) -> tuple[str, str]:
    """The control group and the bridge of this state directory: its own, and never another's."""
    mark = hashlib.sha256(str(state).encode()).hexdigest()[:7]
    return f"beamdesk-{mark}", f"bd{mark}"


def purge(state: Path) -> None:
    """Remove every machine that any daemon of this state directory ever made; volumes and images stay."""
    family, bridge = names(state)
    records = state / "nodes"
    for folder in list(records.iterdir()) if records.is_dir() else []:
        machine.remove(folder, family, bridge)
    if os.path.ismount(records):
        machine.run("umount", records)
    machine.run("ip", "link", "del", bridge, check=False)
    cgroups.remove(family)


def _shown(node: dict[str, Any]) -> dict[str, Any]:
    return {key: node[key] for key in SHOWN}
