"""Servers of one's own, each on a unix socket in a folder that goes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from tests.waiting import until


@contextmanager
def private_redis() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis: its URL, and its process."""
    with tempfile.TemporaryDirectory(prefix="beamdesk-redis-") as folder:
        address = Path(folder) / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(address), "--save", "", "--dir", folder]
        with subprocess.Popen([*command, "--loglevel", "warning"], stdout=subprocess.DEVNULL) as server:
            url = f"unix://{address}"
            try:
                until(lambda: _answers(url), "Redis to answer")
                yield url, server
            finally:
                server.terminate()


def _answers(url: str) -> bool:
    try:
        return bool(Redis.from_url(url).ping())
    except RedisError:
        return False


@contextmanager
def private_postgresql(*, fsync: bool) -> Iterator[str]:
    """A PostgreSQL; made for an account without rights where we are root. `fsync` off loses data in a power cut."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="beamdesk-postgresql-") as folder:
        if drop:
            shutil.chown(folder, "postgres", "postgres")
        data = ["-D", f"{folder}/data"]
        quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        initdb = [*drop, programs / "initdb", *data, "--auth=trust", "--username=test", "--no-sync", "--locale=C.UTF-8"]
        subprocess.run(initdb, **quiet)
        options = f"-k {folder} -c listen_addresses= -c fsync={'on' if fsync else 'off'} -c max_connections=200"
        server = [*drop, programs / "pg_ctl", *data, "-o", options, "-w"]
        subprocess.run([*server, "start"], **quiet)
        try:
            yield f"postgresql+psycopg://test@/postgres?host={folder}"
        finally:
            subprocess.run([*server, "-m", "immediate", "stop"], **quiet)
