"""Allocate and claim with 10,000 machines in 200 pools, 32 threads, on SQLite and PostgreSQL."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import insert, select

from bench.rows import Row, percentile, write
from broker.database import Base, Database
from broker.identity.service import create_account
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import service
from broker.settings import Settings
from tests.servers import private_postgresql

POOLS, MACHINES, THREADS, LAUNCHES = 200, 10_000, 32, 600


def settings(url: str, folder: str) -> Settings:
    """200 pools of 20 environments."""
    cloud = {"title": "Here", "driver": "beamdesk-local", "location": "here", "image": "host"}
    environment = {"title": "E", "description": "E", "roles": ["light"]}
    pool = {"size": "small", "cloud": "here", "target": 0, "limit": 100}
    return Settings(
        state_dir=Path(folder),
        database={"url": url},
        limits={"sessions_per_user": 1000},
        clouds={"here": cloud},
        sizes={"small": {"cores": 1, "memory_gb": 1}},
        environments={f"e{n}": environment for n in range(POOLS // 10)},
        pools={f"p{n}": {**pool, "environment": f"e{n // 10}"} for n in range(POOLS)},
    )


def measure(url: str, kind: str, folder: str) -> list[Row]:
    """Launch requests, from many threads at once; each is quota, choice and claim in one transaction."""
    runtime = Runtime(settings(url, folder), Database(url, pool_size=THREADS))
    Base.metadata.create_all(runtime.database.engine)
    with runtime.database.transaction() as db:
        rows = [
            {"pool": f"p{n % POOLS}", "environment": f"e{n % POOLS // 10}", "size": "small", "cloud": "here"}
            | {"state": MachineState.VACANT, "attempt": 0}
            for n in range(MACHINES)
        ]
        db.execute(insert(Machine), rows)
    people = [create_account(runtime, f"u{n}", "U", "password") for n in range(THREADS)]

    def launch(number: int) -> float:
        began = time.perf_counter()
        service.request(runtime, people[number % THREADS], Wish(f"e{number % 20}"), another=True)
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        took = list(threads.map(launch, range(LAUNCHES)))
    wall = time.perf_counter() - began
    with runtime.database.reading() as db:
        claimed = list(db.scalars(select(Machine.session_id).where(Machine.session_id.is_not(None))))
    double = len(claimed) - len(set(claimed)) + abs(LAUNCHES - len(claimed))
    runtime.database.close()
    return [
        Row(f"claim {kind} p50", 1000 * percentile(took, 0.5), "ms", note=f"{THREADS} threads, {MACHINES} machines"),
        Row(f"claim {kind} p99", 1000 * percentile(took, 0.99), "ms"),
        Row(f"claim {kind} rate", LAUNCHES / wall, "/s"),
        Row(f"claim {kind} double", double, "claims", target=0, met=double == 0),
    ]


def main() -> None:
    """Both databases."""
    with tempfile.TemporaryDirectory() as folder:
        write(measure(f"sqlite:///{folder}/bench.sqlite3", "sqlite", folder))
        with private_postgresql(fsync=True) as url:
            write(measure(url, "postgresql", folder))
