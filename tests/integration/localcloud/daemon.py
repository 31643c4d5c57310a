"""A local cloud of a test's own: its daemon, its API, its machines seen from inside, and what is left of it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.localcloud import cgroups
from agents.localcloud.cloud import names
from agents.localcloud.machine import children, mounts_below, starters
from broker.configuration import ca, ssh
from broker.configuration.ssh import SshTarget
from tests.waiting import until

ROOT = Path(__file__).parents[3]
CONFIG = """
name = "tests"
subnet = "{subnet}"
max_nodes = {max_nodes}
locations = [{{ id = "ral", name = "Harwell" }}, {{ id = "dl", name = "Daresbury" }}]
images = [{{ id = "host", name = "This host" }}]
[[sizes]]
id = "small"
name = "small"
cores = 1
memory_mb = 256
disk_mb = 128
gpus = 0
gpu_model = ""
[[sizes]]
id = "with-gpu"
name = "with-gpu"
cores = 4
memory_mb = 512
disk_mb = 128
gpus = 1
gpu_model = "Test GPU"
"""
Answer = tuple[int, Any]


class Daemon:
    """The cloud. Its state directory has a space in its name, as a path of a user's may have."""

    def __init__(self, folder: Path, subnet: str, max_nodes: int = 20, prefix: tuple[str, ...] = ()) -> None:
        self.folder, self.state, self.socket = folder, folder / "the cloud", folder / "api.sock"
        self.secrets = folder / "broker"
        self.family, self.bridge = names(self.state)
        self.log, self._prefix = folder / "log", prefix
        (folder / "localcloud.toml").write_text(CONFIG.format(subnet=subnet, max_nodes=max_nodes))
        self.authority = ca.trusted(self.secrets / "secrets").users
        self.process: subprocess.Popen[bytes]

    def line(self, *options: str) -> list[str]:
        """The command that starts the daemon."""
        places = {"--config": self.folder / "localcloud.toml", "--state": self.state, "--socket": self.socket}
        words = [str(word) for place in places.items() for word in place]
        return [*self._prefix, sys.executable, "-m", "agents.localcloud", "serve", *words, *options]

    def start(self, *options: str) -> Daemon:
        """Start the daemon; it answers when this returns."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.line(*options), cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers, f"the local cloud; its log is {self.log}")
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"the local cloud has ended: {self.log.read_text()}"
        try:
            return self.ask("GET", "/v1")[0] == 200
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon; its machines live on."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)

    def crash(self) -> None:
        """Kill the daemon, as a power cut would that spares the machines."""
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        """Remove all that the daemon ever made."""
        ssh.close_all(self.secrets)
        if self.process.poll() is None:
            self.stop()
        purge = [*self._prefix, sys.executable, "-m", "agents.localcloud", "purge", "--state", str(self.state)]
        subprocess.run(purge, cwd=ROOT, check=True, timeout=60)
        shutil.rmtree(self.folder)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One HTTP request, its body as it is."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        try:
            connection.sock.connect(str(self.socket))
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return response.status, json.loads(text) if text else None

    def ask(self, method: str, path: str, value: object = None) -> Answer:
        """One call of the API: status and answer."""
        return self.request(method, path, None if value is None else json.dumps(value).encode())

    def wish(self, name: str = "m", **changes: object) -> dict[str, object]:
        """What a good request for a node says, with changes."""
        known = {"name": name, "size": "small", "image": "host", "location": "ral", "tags": {}}
        return {**known, "ssh_ca": self.authority, **changes}

    def create(self, name: str = "m", **changes: object) -> dict[str, Any]:
        """Begin a node."""
        status, node = self.ask("POST", "/v1/nodes", self.wish(name, **changes))
        assert status == 202, node
        return dict(node)

    def running(self, *made: dict[str, Any]) -> list[dict[str, Any]]:
        """These nodes, when they run."""
        return [until(lambda id_=node["id"]: self._up(id_), f"node {node['id']} to run") for node in made]

    def _up(self, id_: str) -> dict[str, Any] | None:
        status, node = self.ask("GET", f"/v1/nodes/{id_}")
        assert status == 200, node
        assert node["state"] in ("pending", "running"), node
        return node if node["state"] == "running" else None

    def machine(self, name: str = "m", **changes: object) -> Machine:
        """A machine that runs."""
        return Machine(self, self.running(self.create(name, **changes))[0])

    def destroy(self, *nodes: dict[str, Any]) -> None:
        """Remove the nodes; they are gone when this returns."""
        for node in nodes:
            self.ask("DELETE", f"/v1/nodes/{node['id']}")
        for node in nodes:
            until(lambda id_=node["id"]: self.state_of(id_) in ("terminated", "gone"), f"{node['id']} to go")

    def state_of(self, id_: str) -> str:
        """The node's state; "gone" where the cloud does not know it."""
        status, node = self.ask("GET", f"/v1/nodes/{id_}")
        return str(node["state"]) if status == 200 else "gone"

    def nodes(self) -> dict[str, dict[str, Any]]:
        """All nodes by id."""
        return {node["id"]: node for node in self.ask("GET", "/v1/nodes")[1]}

    def leftovers(self) -> list[str]:
        """What of its machines is on this host: folders, processes, mounts, links, control groups."""
        folders = list((self.state / "nodes").glob("*"))
        groups = [group for top in cgroups.groups(self.family, "x") for group in top.parent.glob("*/")]
        links = [link for link in os.listdir("/sys/class/net") if link.startswith(self.bridge) and link != self.bridge]
        ours = f"{self.state}/nodes/".encode()
        running = [entry for entry in Path("/proc").glob("[0-9]*") if ours in _command(entry)]
        mounts = mounts_below(self.state / "nodes")
        return [str(each) for each in (*folders, *groups, *links, *running, *mounts)]


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


class Machine:
    """One machine, as root sees it from inside over SSH, and as its host does."""

    def __init__(self, daemon: Daemon, node: dict[str, Any]) -> None:
        self.daemon, self.node, self.id, self.address = daemon, node, node["id"], node["address"]
        self.folder = daemon.state / "nodes" / self.id
        self.target = SshTarget(self.address, node["host_key"], node["name"])

    def run(self, script: str) -> subprocess.CompletedProcess[bytes]:
        """Run a shell script inside."""
        return ssh.run(self.daemon.secrets, self.target, ["sh", "-c", script])

    def says(self, script: str) -> str:
        """What a shell script prints that succeeds."""
        done = self.run(script)
        assert done.returncode == 0, done
        return done.stdout.decode().strip()

    def fails(self, script: str) -> bool:
        """Whether the script fails."""
        return self.run(script).returncode != 0

    @property
    def starter(self) -> int:
        """The host's process whose child is the machine's init."""
        return min(starters(self.folder))

    @property
    def init(self) -> int:
        """The host's number of the machine's init."""
        return children(self.starter)[0]

    def processes(self) -> list[Path]:
        """The machine's processes, as the host's /proc has them."""
        space = os.readlink(f"/proc/{self.init}/ns/pid")
        return [entry for entry in Path("/proc").glob("[0-9]*") if _space(entry) == space]


def _space(process: Path) -> str | None:
    try:
        return os.readlink(process / "ns/pid")
    except OSError:
        return None


MakeDaemon = Callable[..., Daemon]
