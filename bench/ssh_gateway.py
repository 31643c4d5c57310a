"""The SSH gateway beside OpenSSH's own `ssh -J` through a plain sshd, all in the same run.

The same client, the same certificate, the same machine's sshd and the same ciphers; only the host in the middle is
another. Rounds of both ways alternate, so that noise meets both.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.rows import Row, write
from broker.configuration import ca
from broker.gateways import sshd
from broker.sessions import certificates
from tests.integration.gateways.lab import state
from tests.integration.gateways.ssh_lab import SshLab, Visitor, closing_lab
from tests.ports import free_port
from tests.servers import private_redis
from tests.waiting import until

ROUNDS, MEGABYTES, OPENINGS, OPEN = 7, 256, 25, 20
LEAST = 0.9  # of the peer's speed


@contextmanager
def plain_sshd(lab: SshLab) -> Iterator[int]:
    """A listening sshd as an administrator would set one up for jumps, with the same rights; its port."""
    folder, port = lab.folder / "plain", free_port()
    folder.mkdir()
    secrets = lab.runtime.settings.secrets_dir
    host = ca.gateway_host(secrets)
    with lab.runtime.database.reading() as db:
        (folder / "principals").write_text(sshd.principals(certificates.live(db, lab.runtime.settings)))
    text = sshd.configuration(secrets / "user_ca.pub", host, lab.runtime.settings.ssh_account)
    config = folder / "sshd_config"
    config.write_text(f'ListenAddress 127.0.0.1:{port}\nAuthorizedPrincipalsFile "{folder}/principals"\n{text}')
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*lab.drop, sshd.program(), "-D", "-e", "-f", str(config)], stderr=log)
    try:
        until(lambda: b"listening" in (folder / "log").read_bytes(), "the plain sshd", 10)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def connect_seconds(file: Path) -> float:
    """From the command to its end: two logins, and nothing to do."""
    began = time.perf_counter()
    subprocess.run(["ssh", "-F", str(file), "desktop", "true"], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def throughput(file: Path) -> float:
    """MB/s from the machine, once it begins to send."""
    line = ["ssh", "-F", str(file), "desktop", f"head -c {MEGABYTES}M /dev/zero"]
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        left = MEGABYTES * 1024 * 1024 - len(process.stdout.read1(1))
        began = time.perf_counter()
        while piece := process.stdout.read1(1024 * 1024):
            left -= len(piece)
        seconds = time.perf_counter() - began
    assert left == 0, left
    return MEGABYTES * 1.048576 / seconds


def memory(lab: SshLab, visitor: Visitor, file: Path) -> float:
    """kB of the gateway's host for each open connection."""
    before = _pss(lab)
    running = [subprocess.Popen(["ssh", "-F", str(file), "desktop", "sleep 60"]) for _ in range(OPEN)]
    try:
        until(lambda: len(visitor.rows(open_=True)) >= OPEN, "the connections to be open", 60)
        return (_pss(lab) - before) / OPEN
    finally:
        for process in running:
            process.kill()
            process.wait()


def _pss(lab: SshLab) -> int:
    """kB of the listening process, and of all processes that it, or a child of its, has started."""
    total, family = 0, {lab.gateway.process.pid}
    parents = {int(entry.name): _parent(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    for pid in family:
        if state(pid) not in ("", "Z"):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def beside(name: str, unit: str, ours: list[float], theirs: list[float], *, more_is_better: bool) -> Row:
    """One row: medians, and the speed as a share of the peer's."""
    mine, peer = statistics.median(ours), statistics.median(theirs)
    share = mine / peer if more_is_better else peer / mine
    return Row(
        name,
        *(mine, unit, "ssh -J through sshd", peer, share, None),
        met=share >= LEAST,
        note=f"speed {share:.2f} of the peer's, at least {LEAST}; {len(ours)} rounds",
    )


def main() -> None:
    """All rows."""
    with private_redis() as (redis_url, _), closing_lab(redis_url, connections_per_session=100) as lab:
        visitor = lab.visitor()
        file = visitor.file()
        with plain_sshd(lab) as port:
            peer = file.with_name("peer.conf")
            peer.write_text(file.read_text().replace(f" -p {lab.gateway.port} ", f" -p {port} "))
            for each in (file, peer):
                connect_seconds(each)
            opened = [(connect_seconds(file), connect_seconds(peer)) for _ in range(OPENINGS)]
            carried = [(throughput(file), throughput(peer)) for _ in range(ROUNDS)]
        kilobytes = memory(lab, visitor, file)
    ours, theirs = (list(each) for each in zip(*carried, strict=True))
    rows = [beside("ssh gateway, MB/s from a machine", "MB/s", ours, theirs, more_is_better=True)]
    ours, theirs = (list(each) for each in zip(*opened, strict=True))
    rows.append(beside("ssh gateway, to the end of `true`", "s", ours, theirs, more_is_better=False))
    rows.append(Row("ssh gateway, memory of a connection", kilobytes, "kB", note=f"PSS, {OPEN} open"))
    write(rows)
