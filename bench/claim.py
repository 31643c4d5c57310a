"""Allocate and claim with 10,000 machines in 200 pools: as fast as 32 threads can, on SQLite and PostgreSQL; and at
100 launches a second, however long each takes, on PostgreSQL."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import insert, select, text

from bench.rows import Row, percentile, write
from broker import pauses
from broker.database import Base, Database
from broker.identity.models import User
from broker.identity.rights import Role
from broker.identity.service import Person, person_of
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import service
from broker.settings import Settings
from tests.servers import private_postgresql

POOLS, MACHINES, THREADS, LAUNCHES = 200, 10_000, 32, 600
RATE, STEADY, TARGET_MS = 100, 1_500, 25  # launches a second; how many; p99


def settings(url: str, folder: str, environments: int) -> Settings:
    """200 pools of so many environments."""
    cloud = {"title": "Here", "driver": "beamdesk-local", "location": "here", "image": "host"}
    environment = {"title": "E", "description": "E", "roles": ["light"]}
    pool = {"size": "small", "cloud": "here", "target": 0, "limit": 100}
    return Settings(
        state_dir=Path(folder),
        database={"url": url},
        limits={"sessions_per_user": 1000},
        clouds={"here": cloud},
        sizes={"small": {"cores": 1, "memory_gb": 1}},
        environments={f"e{n}": environment for n in range(environments)},
        pools={f"p{n}": {**pool, "environment": f"e{n % environments}"} for n in range(POOLS)},
    )


def filled(url: str, folder: str, environments: int) -> Runtime:
    """A deployment whose machines are all vacant."""
    runtime = Runtime(settings(url, folder, environments), Database(url, pool_size=THREADS))
    Base.metadata.drop_all(runtime.database.engine)
    Base.metadata.create_all(runtime.database.engine)
    with runtime.database.transaction() as db:
        rows = [
            {"pool": f"p{n % POOLS}", "environment": f"e{n % environments}", "size": "small", "cloud": "here"}
            | {"state": MachineState.VACANT, "attempt": 0}
            for n in range(MACHINES)
        ]
        db.execute(insert(Machine), rows)
    if not runtime.database.is_sqlite:
        with runtime.database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
    return runtime


def users(runtime: Runtime, number: int) -> list[Person]:
    """So many people, without passwords, which would take longer than all the rest."""
    with runtime.database.transaction() as db:
        rows = [User(name=f"u{n}", full_name="U", password_hash="", role=Role.USER, groups=[]) for n in range(number)]
        db.add_all(rows)
        db.flush()
        return [person_of(user) for user in rows]


def double_claims(runtime: Runtime, launches: int) -> int:
    """How many machines too many or too few were given."""
    with runtime.database.reading() as db:
        claimed = list(db.scalars(select(Machine.session_id).where(Machine.session_id.is_not(None))))
    return len(claimed) - len(set(claimed)) + abs(launches - len(claimed))


def crowd(url: str, kind: str, folder: str) -> list[Row]:
    """Launch requests, from many threads at once; each is quota, choice and claim in one transaction."""
    runtime = filled(url, folder, 20)
    people = users(runtime, THREADS)

    def launch(number: int) -> float:
        began = time.perf_counter()
        service.request(runtime, people[number % THREADS], Wish(f"e{number % 20}"), another=True)
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        took = list(threads.map(launch, range(LAUNCHES)))
    wall = time.perf_counter() - began
    double = double_claims(runtime, LAUNCHES)
    runtime.database.close()
    return [
        Row(f"claim {kind} p50", 1000 * percentile(took, 0.5), "ms", note=f"{THREADS} threads, {MACHINES} machines"),
        Row(f"claim {kind} p99", 1000 * percentile(took, 0.99), "ms"),
        Row(f"claim {kind} rate", LAUNCHES / wall, "/s"),
        Row(f"claim {kind} double", double, "claims", target=0, met=double == 0),
    ]


def at_the_rate(launch: Callable[[int], object], first: int) -> list[float]:
    """Seconds from each arrival to its end; arrivals keep to their rate whether the ones before are done or not."""
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(launch, range(first, first + THREADS)))  # connections are open, statements known
        began = time.perf_counter() + 0.1

        def timed(number: int) -> float:
            launch(first + THREADS + number)
            return time.perf_counter() - began - number / RATE

        def arrivals() -> Iterator[Future[float]]:
            for number in range(STEADY):
                time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
                yield threads.submit(timed, number)

        return [future.result() for future in list(arrivals())]


CLAIM_ALONE = """UPDATE machines SET state = 'acquired' WHERE id = (SELECT id FROM machines
    WHERE pool = %(pool)s AND state = 'vacant' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)"""


def steady(url: str, folder: str) -> list[Row]:
    """A launch beside the claim's bare statement, both at the same rate."""
    runtime = filled(url, folder, 50)
    people = users(runtime, THREADS + STEADY)
    pauses.shorten()  # as the web process does
    cpu = time.process_time()
    took = at_the_rate(lambda n: service.request(runtime, people[n], Wish(f"e{n % 50}")), 0)
    cpu = (time.process_time() - cpu) / (THREADS + STEADY)
    double = double_claims(runtime, THREADS + STEADY)

    def bare(number: int) -> None:
        with runtime.database.engine.begin() as connection:
            connection.exec_driver_sql(CLAIM_ALONE, {"pool": f"p{number % POOLS}"})

    floor = at_the_rate(bare, 0)
    runtime.database.close()
    p50, p99 = (1000 * percentile(took, share) for share in (0.5, 0.99))
    bare50, bare99 = (1000 * percentile(floor, share) for share in (0.5, 0.99))
    peer, note = "the claim's SQL alone", f"{RATE}/s for {STEADY / RATE:.0f} s, one process"
    return [
        Row("allocate + claim p50", p50, "ms", peer, bare50, p50 / bare50, note=note),
        Row("allocate + claim p99", p99, "ms", peer, bare99, p99 / bare99, target=TARGET_MS, met=p99 <= TARGET_MS),
        Row("allocate + claim cpu", 1000 * cpu, "ms", note="of the broker's process, a launch"),
        Row("allocate + claim double", double, "claims", target=0, met=double == 0),
    ]


def main() -> None:
    """Both databases; then the steady rate, on the one that is made for it."""
    with tempfile.TemporaryDirectory() as folder:
        write(crowd(f"sqlite:///{folder}/bench.sqlite3", "sqlite", folder))
        with private_postgresql(fsync=True) as url:
            write(crowd(url, "postgresql", folder))
            write(steady(url, folder))
