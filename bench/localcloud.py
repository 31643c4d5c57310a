"""The local cloud: how soon a machine is there, vacant and gone again, and what it costs in memory. Needs root."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from libcloud.compute.base import Node
from libcloud.compute.providers import get_driver
from libcloud.compute.types import NodeState

from agents.localcloud import cgroups
from bench.rows import Row, percentile, write
from broker.clouds import local
from broker.configuration import doors, identity, playbook, ssh
from broker.database import Database
from broker.pools.access import target
from broker.pools.models import Machine as Record
from broker.pools.probe import probe
from broker.runtime import Runtime
from broker.settings import Settings
from tests.integration.localcloud.daemon import ROOT, Daemon, Machine
from tests.waiting import until

SUBNET = "10.231.50.0/24"
MACHINES, VACANT = 10, 5
MEGABYTE = 1 << 20


def banner(address: str, port: int) -> None:
    """Until an sshd there says who it is, as a client waits for it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # Short: a packet to a machine that is not there yet is lost, and the kernel repeats it a second later.
        with suppress(OSError), socket.create_connection((address, port), timeout=0.02) as connection:
            connection.settimeout(5)
            if connection.recv(8) == b"SSH-2.0-":
                return
        time.sleep(0.001)
    raise AssertionError(f"no sshd on {address}:{port}")


def took(work: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def proportional(process: Path) -> int:
    """What the process uses in kB, each shared page divided among those who share it; 0 where it has ended."""
    with suppress(OSError):
        return int(re.findall(r"^Pss:\s+(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE)[0])
    return 0


@contextmanager
def by_hand(folder: Path) -> Iterator[float]:
    """The floor: `unshare` and an sshd on this host's own files, and nothing else. Seconds until it answers."""
    with socket.socket() as probe_:
        probe_.bind(("127.0.0.1", 0))
        port = probe_.getsockname()[1]
    words = ["/usr/sbin/sshd", "-D", "-f", "none", "-h", f"{folder}/key", "-p", str(port)]
    spaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--kill-child"]
    began = time.perf_counter()
    with subprocess.Popen([*spaces, *words], stderr=subprocess.DEVNULL) as process:
        try:
            banner("127.0.0.1", port)
            yield time.perf_counter() - began
        finally:
            process.kill()


class Bench:
    """A cloud of the benchmark's own, with the demo's sizes, as the broker uses it."""

    def __init__(self, daemon: Daemon) -> None:
        local.register()
        self.daemon = daemon
        self.driver: Any = get_driver(local.PROVIDER)(socket=str(daemon.socket))
        self.runtime = Runtime(Settings(state_dir=daemon.secrets), Database(f"sqlite:///{daemon.folder}/none.sqlite3"))

    def create(self, image: Any = None) -> Any:
        """A bare machine that answers."""
        driver = self.driver
        image = image or driver.list_images()[0]
        node = driver.create_node("m", driver.list_sizes()[0], image, ex_ssh_ca=self.daemon.authority)
        banner(node.private_ips[0], 22)
        return node

    def destroy(self, node: Any) -> None:
        """Remove the machine; it is gone when this returns."""
        self.driver.destroy_node(node)
        until(lambda: self.daemon.state_of(node.id) == "terminated", "the machine to go", every=0.002)

    def configured(self, role: str, folder: Path) -> Machine:
        """A machine that all roles were run on."""
        node = self.create()
        machine = Machine(self.daemon, self.daemon.running({"id": node.id})[0])
        playbook.configure(self.daemon.secrets, machine.target, roles=[role], variables={}, folder=folder, timeout=120)
        return machine

    def bake(self, role: str, folder: Path) -> Any:
        """An image of the environment."""
        machine = self.configured(role, folder)
        identity.take(self.daemon.secrets, machine.target, "of the benchmark")
        image = self.driver.create_image(Node(machine.id, "", NodeState.RUNNING, [], [], self.driver), f"bench-{role}")
        ssh.close_all(self.daemon.secrets)
        self.daemon.destroy(machine.node)
        return image

    def of_image(self, image: Any) -> Machine:
        """A machine of the image, with an identity of its own."""
        node = self.create(image)
        machine = Machine(self.daemon, self.daemon.running({"id": node.id})[0])
        assert identity.made_of(self.daemon.secrets, machine.target) == "of the benchmark"
        identity.give(self.daemon.secrets, machine.target)
        return machine

    def probed(self, machine: Machine, role: str) -> Machine:
        """The machine, when it showed its desktop, as a pool's do."""
        record = Record(id=1, environment=role, address=machine.address, host_key=machine.node["host_key"])
        doors.lay(self.daemon.secrets, target(record))
        probe(self.runtime, record)
        return machine

    def memory(self, machine: Machine) -> tuple[float, float]:
        """What the machine's processes use, shared pages by share, and what its control group is charged for: MB."""
        pss = sum(map(proportional, machine.processes()))
        file = {"v1": "memory.usage_in_bytes", "v2": "memory.current"}.get(cgroups.version())
        groups = cgroups.groups(self.daemon.family, machine.id)
        charged = [int((group / file).read_text()) for group in groups if file and (group / file).exists()]
        return pss / 1024, sum(charged) / MEGABYTE


def bare(bench: Bench, folder: Path) -> list[Row]:
    """Machines as the cloud gives them, each beside one by hand."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    floors, creates, destroys = [], [], []
    for _ in range(MACHINES):
        with by_hand(folder) as floor:
            floors.append(floor)
        nodes: list[Any] = []
        creates.append(took(lambda nodes=nodes: nodes.append(bench.create())))
        destroys.append(took(lambda nodes=nodes: bench.destroy(nodes[0])))
    value, floor = percentile(creates, 0.5), percentile(floors, 0.5)
    note = f"create_node to sshd's banner, {MACHINES} machines"
    return [
        Row("localcloud create p50", 1000 * value, "ms", "unshare + sshd", 1000 * floor, value / floor, note=note),
        Row("localcloud destroy p50", 1000 * percentile(destroys, 0.5), "ms", note="destroy_node to terminated"),
    ]


def vacant(bench: Bench, role: str, folder: Path) -> list[Row]:
    """Machines as a pool keeps them, and the memory that an idle one takes."""
    seconds, memory = [], []
    for _ in range(VACANT):
        made: list[Machine] = []
        seconds.append(took(lambda made=made: made.append(bench.probed(bench.configured(role, folder), role))))
        until(lambda made=made: made[0].fails("pgrep -u beamdesk-probe"), "the probe to end")
        ssh.close_all(bench.daemon.secrets)
        memory.append(bench.memory(made[0]))
        bench.daemon.destroy(made[0].node)
    pss, charged = ([each[column] for each in memory] for column in (0, 1))
    note = f"create_node to configured and probed, {VACANT} machines, one after the other"
    return [
        Row(f"localcloud {role} vacant p50", percentile(seconds, 0.5), "s", note=note),
        Row(f"localcloud {role} idle PSS", percentile(pss, 0.5), "MB", note="of all processes of a vacant machine"),
        Row(f"localcloud {role} idle cgroup", percentile(charged, 0.5), "MB", note="files and caches too"),
    ]


def baked(bench: Bench, role: str, folder: Path) -> list[Row]:
    """Machines of the environment's image beside those that run its roles: from create_node to probed."""
    image, full, quick = bench.bake(role, folder), [], []
    for _ in range(VACANT):
        made: list[Machine] = []
        full.append(took(lambda made=made: made.append(bench.probed(bench.configured(role, folder), role))))
        quick.append(took(lambda made=made: made.append(bench.probed(bench.of_image(image), role))))
        ssh.close_all(bench.daemon.secrets)
        bench.daemon.destroy(*(machine.node for machine in made))
    value, peer = percentile(quick, 0.5), percentile(full, 0.5)
    note = f"create_node to configured and probed, {VACANT} of each in turn"
    return [Row(f"localcloud {role} baked p50", value, "s", "all roles", peer, value / peer, note=note)]


def main() -> None:
    """A cloud on a subnet of its own, which is gone afterwards."""
    if os.getuid() != 0:
        sys.exit("The benchmark localcloud makes machines, for which it must be root.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "cloud").mkdir()
        daemon = Daemon(folder / "cloud", SUBNET)
        demo = (ROOT / "localcloud.toml").read_text()
        (folder / "cloud/localcloud.toml").write_text(demo.replace("10.231.7.0/24", SUBNET))
        with closing(daemon.start()):
            bench = Bench(daemon)
            write(bare(bench, folder))
            for role in ("light", "science"):
                write(vacant(bench, role, folder))
                write(baked(bench, role, folder))
