"""A machine that dials out beside one that is reached directly, in the same cloud and the same run, in turn."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench.rows import Row, write
from broker.configuration import ssh
from broker.configuration.ssh import SshTarget
from broker.pools.access import target
from tests.integration.machine.lab import Lab
from tests.integration.machine.tunnel_lab import deployment
from tests.servers import private_redis

ROUNDS, MEGABYTES, COMMANDS = 7, 256, 60


def throughput(state_dir: Path, machine: SshTarget) -> float:
    """MB/s from the machine, once it begins to send."""
    line = ["ssh", *ssh.options(state_dir, machine), f"root@{machine.address}", f"head -c {MEGABYTES}M /dev/zero"]
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read1(1)
        began = time.perf_counter()
        while process.stdout.read1(1024 * 1024):
            pass
        return MEGABYTES * 1.048576 / (time.perf_counter() - began)


def command(state_dir: Path, machine: SshTarget) -> float:
    """Milliseconds of a command that does nothing."""
    began = time.perf_counter()
    ssh.run(state_dir, machine, ["true"])
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Both rows."""
    with (
        tempfile.TemporaryDirectory() as folder,
        private_redis() as (redis_url, _),
        closing(Lab(Path(folder))) as lab,
        deployment(lab, redis_url) as nat,
    ):
        nat.build()
        lab.state_dir = nat.folder  # so that the direct machine lets the same broker in
        places = (target(nat.configure()), lab.build())
        for each in places:
            command(nat.folder, each)
        carried = [[throughput(nat.folder, each) for each in places] for _ in range(ROUNDS)]
        asked = [[command(nat.folder, each) for each in places] for _ in range(COMMANDS)]
    rows = []
    for name, unit, rounds in (("MB/s from a machine", "MB/s", carried), ("a command", "ms", asked)):
        ours, direct = (statistics.median(each) for each in zip(*rounds, strict=True))
        rows.append(Row(f"tunnel, {name}", ours, unit, "direct", direct, ours / direct, note=f"{len(rounds)} rounds"))
    write(rows)
