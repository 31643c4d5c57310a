"""A local cloud of the tests' own, with a subnet of its own: real machines to configure and to attach to."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from agents.localcloud.cloud import names
from agents.localcloud.machine import link_of
from broker.configuration import ca
from broker.configuration.ssh import SshTarget
from tests.waiting import until

ROOT = Path(__file__).parents[3]
CONFIG = """
name = "machine-tests"
subnet = "10.231.32.0/24"
max_nodes = 12
sizes = [{id = "small", name = "small", cores = 2, memory_mb = 2048, disk_mb = 2048, gpus = 0, gpu_model = ""}]
locations = [{id = "here", name = "here"}]
images = [{id = "debian", name = "debian"}]
"""


class _Connection(http.client.HTTPConnection):
    """HTTP to the daemon's unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Lab:
    """The cloud; `state_dir` is that of the broker which owns its machines."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = folder / "broker"
        self.state_dir.mkdir()
        self.cloud, self.socket = folder / "cloud", folder / "cloud.sock"
        self.images: dict[str, str] = {}  # by what was saved as it
        self._nodes: dict[str, str] = {}
        (folder / "localcloud.toml").write_text(CONFIG)
        places = [
            "--config",
            str(folder / "localcloud.toml"),
            "--state",
            str(self.cloud),
            "--socket",
            str(self.socket),
        ]
        line = [sys.executable, "-m", "agents.localcloud", "serve", *places, "--owner", str(os.getuid())]
        with (folder / "cloud.log").open("wb") as log:
            self._daemon = subprocess.Popen(line, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            until(self._answers, f"the local cloud; its log is {folder}/cloud.log", 20)
        except BaseException:
            self.close()
            raise

    def build(self, image: str = "debian") -> SshTarget:
        """A machine of this image that is up; a bare one by itself."""
        name = f"m{len(self._nodes) + 1}"
        wish = {
            "name": name,
            "size": "small",
            "image": image,
            "location": "here",
            "tags": {},
            "ssh_ca": ca.trusted(self.state_dir / "secrets").users,
        }
        self._nodes[name] = self._ask("POST", "/v1/nodes", wish)["id"]
        node = until(lambda: self._up(name), f"machine {name}", 30)
        return SshTarget(address=node["address"], host_key=node["host_key"], name=name)

    def save(self, target: SshTarget, name: str) -> None:
        """Make an image of the machine."""
        wish = {"node": self._nodes[target.name], "name": name, "tags": {}}
        self.images[name] = self._ask("POST", "/v1/images", wish)["id"]

    def destroy(self, target: SshTarget) -> None:
        """End the machine; it is gone when this returns."""
        self._ask("DELETE", self._node(target))
        until(lambda: self._state(target.name) in {"terminated", "gone"}, f"machine {target.name} to go", 30)

    def give_home(self, target: SshTarget, user: str, uid: int, volume: str) -> None:
        """Show the volume as the user's home; it is made where it does not exist."""
        self._ask("POST", "/v1/volumes", {"name": volume, "owner": uid})
        self._ask("POST", f"{self._node(target)}/volumes", {"volume": volume, "path": f"/home/{user}"})

    def take_home(self, target: SshTarget, volume: str) -> None:
        """Take the volume from the machine; it keeps what is on it."""
        self._ask("DELETE", f"{self._node(target)}/volumes/{volume}")

    def cable(self, node: str) -> str:
        """The host's end of a machine's cable."""
        return link_of(names(self.cloud)[1], node)

    def close(self) -> None:
        """Remove every machine and all that they were made of."""
        self._daemon.terminate()
        self._daemon.wait(30)
        purge = [sys.executable, "-m", "agents.localcloud", "purge", "--state", str(self.cloud)]
        subprocess.run(purge, cwd=ROOT, check=True, timeout=60)

    def _node(self, target: SshTarget) -> str:
        return f"/v1/nodes/{self._nodes[target.name]}"

    def _answers(self) -> bool:
        assert self._daemon.poll() is None, "the local cloud has ended"
        try:
            return bool(self._ask("GET", "/v1"))
        except OSError:
            return False

    def _up(self, name: str) -> dict[str, Any] | None:
        node: dict[str, Any] = self._ask("GET", f"/v1/nodes/{self._nodes[name]}")
        assert node["state"] in {"pending", "running"}, node
        return node if node["state"] == "running" else None

    def _state(self, name: str) -> str:
        return next((node["state"] for node in self._ask("GET", "/v1/nodes") if node["name"] == name), "gone")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = _Connection(self.socket)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status < 300, f"{method} {path}: {response.status} {answer.decode()}"
        return json.loads(answer) if answer else None
