"""Many clouds: one manager pass over 10,000 machines, and machines built and destroyed against a real OpenStack."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
from sqlalchemy import func, insert, select

from bench import openstack
from bench.nova import CLOUDS, NODES, machine_id, node_id
from bench.rows import Row, percentile, write
from broker.clouds.adapter import open_cloud
from broker.database import Base, Database, now
from broker.events import Event
from broker.pools.manager import PoolManager
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.settings import CloudSettings, Settings
from tests.servers import private_postgresql, private_redis

POOLS, VACANT = 200, 30  # of the 50 machines of each pool; the others are in use
PASSES, WARM = 20, 6
CPU_SECONDS, GROWN_MB = 2.0, 4.0
MB = 1024 * 1024


@contextmanager
def many_clouds() -> Iterator[str]:
    """The stand-in for twenty clouds; its address."""
    with subprocess.Popen([sys.executable, "-m", "bench.nova"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def settings(folder: str, database: str, redis: str, address: str) -> Settings:
    """200 pools of one environment, ten in each of twenty clouds."""
    signed_in = {"username": "bench", "password": "bench", "project": "bench", "network": "net1", "region": "RegionOne"}
    cloud = {"title": "C", "driver": "openstack", "image": "desktop"}
    pool = {"environment": "light", "size": "small", "target": VACANT, "limit": 2 * VACANT}
    os.environ["BEAMDESK_CONFIG"] = f"{folder}/nothing-else.toml"
    return Settings(
        deployment="bench",
        state_dir=Path(folder),
        database={"url": database},
        redis={"url": redis},
        times={"list_every": 0.001, "probe_every": 86400},
        clouds={
            f"c{n}": {**cloud, "location": f"l{n}", "options": {**signed_in, "auth_url": f"{address}/{n}"}}
            for n in range(CLOUDS)
        },
        sizes={"small": {"cores": 1, "memory_gb": 1}},
        environments={"light": {"title": "E", "description": "E", "roles": ["light"]}},
        pools={f"p{n}": {**pool, "cloud": f"c{n % CLOUDS}"} for n in range(POOLS)},
    )


def rows_of_machines() -> list[dict[str, object]]:
    """A machine for each node, in the pools of its cloud; of each pool some are vacant and were probed just now."""
    moment, each = now(), POOLS // CLOUDS
    return [
        {
            "id": machine_id(cloud, node),
            "pool": f"p{cloud + CLOUDS * (node % each)}",
            "environment": "light",
            "size": "small",
            "cloud": f"c{cloud}",
            "state": MachineState.VACANT if node // each < VACANT else MachineState.ACQUIRED,
            "node_id": node_id(machine_id(cloud, node)),
            "address": "10.0.0.1",
            "host_key": "ssh-ed25519 AAAA",
            "probed_at": moment,
            "attempt": 4,
        }
        for cloud in range(CLOUDS)
        for node in range(NODES)
    ]


def resident() -> float:
    """This process's memory, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MB


def listing_by_libcloud(clouds: list[CloudSettings]) -> float:
    """CPU seconds of the plain lists of all clouds at once: what no pass can do without."""
    drivers = [open_cloud(each).driver for each in clouds]
    spent = []
    with ThreadPoolExecutor(len(drivers)) as threads:
        for _ in range(5):
            began = time.process_time()
            nodes = list(threads.map(lambda driver: len(driver.list_nodes()), drivers))
            spent.append(time.process_time() - began)
            assert sum(nodes) == CLOUDS * NODES
    return percentile(spent, 0.5)


def reconcile(kind: str, database: str, redis: str, address: str) -> list[Row]:
    """Pass after pass over clouds and database that agree."""
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(settings(folder, database, redis, address), Database(database))
        Base.metadata.create_all(runtime.database.engine)
        with runtime.database.transaction() as db:
            db.execute(insert(Machine), rows_of_machines())
        floor = listing_by_libcloud(list(runtime.settings.clouds.values()))
        manager = PoolManager(runtime)
        for _ in range(WARM):
            manager.tend({})
        before, held = httpx2.get(f"{address}/listed").json(), resident()
        cpu, wall = [], []
        for _ in range(PASSES):
            began = time.process_time(), time.perf_counter()
            manager.tend({})
            cpu.append(time.process_time() - began[0])
            wall.append(time.perf_counter() - began[1])
        grown, after = resident() - held, httpx2.get(f"{address}/listed").json()
        with runtime.database.reading() as db:
            assert not db.scalar(select(func.count()).select_from(Event)), "a pass found something to do"
        runtime.database.close()
    lists, pages = (after[what] - before[what] for what in ("lists", "pages"))
    value = sum(cpu) / (lists / CLOUDS)  # a list that takes longer than its pass is in the next one's figure
    return [
        Row(
            *(f"reconcile {kind}, CPU of a pass", value, "s", "Libcloud's lists alone", floor, value / floor),
            target=CPU_SECONDS,
            met=value <= CPU_SECONDS,
            note=f"{CLOUDS * NODES} machines, {POOLS} pools, {CLOUDS} clouds; the worst of {PASSES} {max(cpu):.2f} s",
        ),
        Row(f"reconcile {kind}, a pass, p50", percentile(wall, 0.5), "s", note=f"the longest {max(wall):.2f} s"),
        Row(
            *(f"reconcile {kind}, memory grown in {PASSES} passes", grown, "MB"),
            target=GROWN_MB,
            met=grown <= GROWN_MB,
            note=f"of {held:.0f} MB",
        ),
        Row(
            *(f"reconcile {kind}, lists of a cloud and pass", lists / CLOUDS / PASSES, "lists"),
            target=1,
            met=lists <= CLOUDS * PASSES,
            note=f"each in {pages / lists:g} pages",
        ),
    ]


def main() -> None:
    """Both databases, then the real cloud."""
    with many_clouds() as address, private_redis() as (redis, _), tempfile.TemporaryDirectory() as folder:
        write(reconcile("sqlite", f"sqlite:///{folder}/bench.sqlite3", redis, address))
        with private_postgresql(fsync=True) as url:
            write(reconcile("postgresql", url, redis, address))
    write(openstack.rows())
