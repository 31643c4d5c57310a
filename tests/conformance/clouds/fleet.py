"""Pools over two clouds, each behind a proxy that can be told to misbehave; driven by hand, a pass at a time.

Real are the manager, its jobs, the database, Redis and the clouds. What runs on a machine is not: nothing is behind
these clouds' nodes, so they are configured and probed by fakes, and the proxies speak their first words on the console.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rq import Queue, SimpleWorker

from broker.clouds.adapter import MACHINE, CloudNode, open_cloud
from broker.database import Base
from broker.jobs import QUEUES
from broker.pools import jobs as machine_jobs
from broker.pools import overview
from broker.pools.manager import PoolManager
from broker.pools.models import LIVE, Machine, MachineState
from broker.pools.overview import CloudCard, PoolCard
from broker.runtime import Runtime, open_runtime
from broker.settings import CloudSettings, EnvironmentSettings, PoolSettings, PoolTimes, Settings, SizeSettings
from tests.conformance.clouds.subjects import Subject
from tests.peers.openstack import add_region
from tests.peers.proxy import Proxy, change, proxy

M = MachineState
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHdVgXQnBrGjFNzWcGeJ2dTBMyKVfwPYzp1PcDfBz5bA"
CONSOLE = f"-----BEGIN SSH HOST KEY KEYS-----\n{KEY} root@m\n-----END SSH HOST KEY KEYS-----\n"
TIMES = {
    "list_every": 0.05,
    "retry_first": 0.2,
    "retry_longest": 1.0,
    "room_every": 3600,
    "orphan_grace": 1,
    "keep_failed": 0,
    "build_timeout": 30,
}
DEPLOYMENT = "fleet"


@dataclass(frozen=True)
class Wire:
    """How a cloud's requests look, for rules: (method, what matches)."""

    create: tuple[str, str]
    destroy: tuple[str, str]
    list: tuple[str, str]


OPENSTACK = Wire(
    create=("POST", r"/servers "), destroy=("DELETE", r"/servers/"), list=("GET", r"/servers/detail(?!\?name)")
)
EC2 = Wire(
    create=("GET", "Action=RunInstances"),
    destroy=("GET", "Action=TerminateInstances"),
    list=("GET", r"Action=DescribeInstances.*beamdesk-deployment"),
)


class Fleet:
    """A deployment with the clouds `shaky` and `steady`."""

    def __init__(self, runtime: Runtime, subject: Subject, shaky: Proxy, steady: Proxy) -> None:
        self.runtime, self.subject, self.shaky, self.steady = runtime, subject, shaky, steady
        self.wire = EC2 if subject.settings.driver == "ec2" else OPENSTACK
        self.heal()
        self._manager = PoolManager(runtime)

    def heal(self) -> None:
        """No cloud misbehaves."""
        for each in (self.shaky, self.steady):
            each.heal()
            each.when("POST", "os-getConsoleOutput", change(lambda _: json.dumps({"output": CONSOLE}).encode()))
            each.when("GET", "Action=GetConsoleOutput", change(_with_console))

    def tick(self) -> None:
        """One pass of the manager, and all its jobs."""
        self._manager.tend(Counter())
        queues = [Queue(name, connection=self.runtime.redis) for name in QUEUES]
        SimpleWorker(queues, connection=self.runtime.redis).work(burst=True, logging_level="ERROR")

    def until(self, condition: Callable[[], object], what: str, timeout: float = 60) -> None:
        """Tick until the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout} s for {what}: {self.machines()} {self.clouds()}"
            self.tick()

    def make_preemptible(self, pool: str) -> None:
        """Let the cloud take the pool's machines back whenever it likes."""
        settings = self.runtime.settings
        new = settings.pools[pool].model_copy(update={"preemptible": True})
        self.runtime.settings = settings.model_copy(update={"pools": {**settings.pools, pool: new}})

    def mistake(self, cloud: str, image: str) -> None:
        """Name an image in the settings that the cloud does not have."""
        settings = self.runtime.settings
        wrong = settings.clouds[cloud].model_copy(update={"image": image})
        self.runtime.settings = settings.model_copy(update={"clouds": {**settings.clouds, cloud: wrong}})

    def sign_in_anew(self, cloud: str, options: dict[str, str]) -> None:
        """Give the cloud other credentials, as settings that were read again would."""
        settings = self.runtime.settings
        old = settings.clouds[cloud]
        new = old.model_copy(update={"options": {**options, "region": old.options["region"]}})
        self.runtime.settings = settings.model_copy(update={"clouds": {**settings.clouds, cloud: new}})

    def machines(self, pool: str | None = None) -> Counter[str]:
        """How many machines are in which state, in a pool or all."""
        with self.runtime.database.reading() as db:
            rows = db.query(Machine).where(Machine.state.in_(LIVE))
            return Counter(str(row.state) for row in rows if pool in (None, row.pool))

    def clouds(self) -> dict[str, CloudCard]:
        """How each cloud stands."""
        with self.runtime.database.reading() as db:
            return {card.name: card for card in overview.clouds(db, self.runtime.settings)}

    def pools(self) -> dict[str, PoolCard]:
        """How each pool stands."""
        with self.runtime.database.reading() as db:
            return {card.name: card for card in overview.pools(db, self.runtime.settings, {})}

    def nodes(self) -> list[CloudNode]:
        """What the cloud itself has of ours, asked past the proxies."""
        found = open_cloud(self.subject.settings.model_copy(update={"name": "shaky"})).list_ours(DEPLOYMENT)
        found += open_cloud(self.subject.settings.model_copy(update={"name": "steady"})).list_ours(DEPLOYMENT)
        return [node for node in found if node.state != "gone"]

    def is_full(self, shaky: int = 1, steady: int = 1) -> bool:
        """Whether each pool has its target vacant, and nothing else is there."""
        whole = {M.VACANT.value: shaky} if shaky else {}
        return self.machines("shaky") == whole and self.machines("steady") == {M.VACANT.value: steady}

    def must_be_sound(self) -> None:
        """Each node is one live machine's, and each live machine has its one node."""
        with self.runtime.database.reading() as db:
            claimed = {row.node_id: str(row.id) for row in db.query(Machine).where(Machine.state.in_(LIVE))}
        assert {node.id: node.tags[MACHINE] for node in self.nodes()} == claimed


def _with_console(body: bytes) -> bytes:
    told = base64.b64encode(CONSOLE.encode())
    return re.sub(rb"<output>.*?</output>", b"<output>" + told + b"</output>", body, flags=re.DOTALL)


def _behind(subject: Subject, name: str, at: Proxy) -> CloudSettings:
    options = dict(subject.settings.options)
    if subject.settings.driver == "ec2":
        options["endpoint"] = at.url
    else:
        options["region"] = f"{name}-{at.port}"
        add_region(options, options["region"], at.url)
    return subject.settings.model_copy(
        update={"name": name, "title": name.title(), "options": options, "concurrent_builds": 4, "timeout": 2}
    )


@contextmanager
def fleet(
    subject: Subject, compute_url: str, folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, **times: float
) -> Iterator[Fleet]:
    """A fleet whose pools `shaky` and `steady` keep one machine vacant each; its nodes are removed at the end."""
    monkeypatch.setattr(machine_jobs, "configure", lambda runtime, machine: None)
    monkeypatch.setattr(machine_jobs, "probe", lambda runtime, machine: None)
    with proxy(compute_url) as shaky, proxy(compute_url) as steady:
        settings = _settings(subject, folder, redis_url, {"shaky": shaky, "steady": steady}, times)
        runtime = open_runtime(settings)
        runtime.redis.flushall()
        Base.metadata.create_all(runtime.database.engine)
        monkeypatch.setattr(machine_jobs, "current", lambda: runtime)
        made = Fleet(runtime, subject, shaky, steady)
        try:
            yield made
        finally:
            made.heal()
            for node in made.nodes():
                open_cloud(subject.settings).destroy(node.id)
            runtime.database.close()


def _settings(
    subject: Subject, folder: Path, redis_url: str, proxies: dict[str, Proxy], times: dict[str, float]
) -> Settings:
    (folder / "beamdesk.toml").write_text(f'state_dir = "{folder}"\n[redis]\nurl = "{redis_url}"\n')
    clouds = {name: _behind(subject, name, at) for name, at in proxies.items()}
    pools = {
        name: PoolSettings(name=name, environment="light", size="small", cloud=name, target=1, limit=4)
        for name in proxies
    }
    ids = dict.fromkeys(proxies, subject.size)
    return Settings(
        deployment=DEPLOYMENT,
        clouds=clouds,
        sizes={"small": SizeSettings(name="small", cores=subject.cores, memory_gb=0.5, ids=ids)},
        environments={
            "light": EnvironmentSettings(name="light", title="Light", description="A terminal.", roles=("light",))
        },
        pools=pools,
        times=PoolTimes(**{**TIMES, **times}),  # type: ignore[arg-type]
    )
