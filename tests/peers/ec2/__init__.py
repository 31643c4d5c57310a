"""An EC2 API on this machine: Moto's server. Its nodes run at once, and nothing is behind them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.ports import free_port
from tests.waiting import until

SERVE = Path(__file__).with_name("serve.py")


@dataclass(frozen=True)
class Ec2:
    """A running API: its address; any key is let in."""

    endpoint: str
    region: str = "us-east-1"


@contextmanager
def ec2(folder: Path, venv: Path) -> Iterator[Ec2]:
    """An API that forgets all when it ends, run by the Python of `venv`; its log is in `folder`."""
    port = free_port("127.0.0.1")
    command = ["setpriv", "--pdeathsig", "KILL", str(venv / "bin/python"), str(SERVE), str(port)]
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: _answers(port, process, folder), "Moto to answer", 180)
        yield Ec2(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def _answers(port: int, process: subprocess.Popen[bytes], folder: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"Moto ended as it started:\n{(folder / 'moto.log').read_text()[-4000:]}")
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/moto-api/data.json", timeout=10).status_code < 500
    except httpx2.TransportError:
        return False
