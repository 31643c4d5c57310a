"""Machines built and destroyed in a real OpenStack, through our adapter and by Libcloud alone, turn and turn about."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any, Protocol

from bench.rows import Row
from broker.clouds.adapter import DEPLOYMENT, open_cloud
from broker.clouds.openstack import OpenStackCloud
from broker.clouds.userdata import cloud_config
from tests.conformance.clouds.subjects import AUTHORITY, Subject, nova
from tests.waiting import until

MACHINES = int(os.environ.get("BENCH_MACHINES", "100"))  # of each way, in all rounds
ROUNDS = max(4, -(-MACHINES // 90))  # the quota is 100 at a time
ROUND, THREADS = MACHINES // ROUNDS, 8
WORST = 0.9  # of Libcloud's own throughput
LONGEST = 900.0  # seconds for a round


class Way(Protocol):
    """One way to make machines."""

    def build(self, name: str) -> Any:
        """Ask for a machine; what this way knows it by."""

    def running(self) -> int:
        """How many machines run."""

    def present(self) -> int:
        """How many machines there are, running or not."""

    def destroy(self, machine: Any) -> None:
        """Ask for its removal."""


class Ours:
    """The broker's adapter, by a cloud for each thread; a worker's job, a process of its own, signs in besides."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def build(self, name: str) -> str:
        """With all that makes it safe to ask twice."""
        return open_cloud(self._subject.settings).build(self._subject.spec(name, "bench")).id

    def _states(self) -> list[str]:
        return [node.state for node in open_cloud(self._subject.settings).list_ours("bench")]

    def running(self) -> int:
        """As the manager sees it."""
        return self._states().count("running")

    def present(self) -> int:
        """Those on their way out among them."""
        return len(self._states())

    def destroy(self, machine: Any) -> None:
        """By its id."""
        open_cloud(self._subject.settings).destroy(machine)


class Plain:
    """The same calls of the same driver, with nothing around them: a driver for each thread, lists asked for once."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._of_thread = subject, local()

    def _driver(self) -> Any:
        if not hasattr(self._of_thread, "driver"):
            driver = OpenStackCloud(self._subject.settings).driver
            self._of_thread.size = next(s for s in driver.list_sizes() if s.name == self._subject.size)
            self._of_thread.image = next(i for i in driver.list_images() if i.name == self._subject.settings.image)
            wanted = self._subject.settings.options["network"]
            self._of_thread.network = next(n for n in driver.ex_list_networks() if n.name == wanted)
            self._of_thread.driver = driver
        return self._of_thread.driver

    def build(self, name: str) -> Any:
        """With the same tags and user-data."""
        return self._driver().create_node(
            name=name,
            size=self._of_thread.size,
            image=self._of_thread.image,
            networks=[self._of_thread.network],
            ex_metadata={DEPLOYMENT: "plain"},
            ex_userdata=cloud_config(AUTHORITY),
            ex_config_drive=True,
        )

    def running(self) -> int:
        """By state."""
        return sum(node.state == "running" for node in self._driver().list_nodes())

    def present(self) -> int:
        """All that are listed."""
        return len(self._driver().list_nodes())

    def destroy(self, machine: Any) -> None:
        """Without another look."""
        self._driver().destroy_node(machine)


def one_round(way: Way, threads: ThreadPoolExecutor, names: list[str]) -> tuple[float, float]:
    """Seconds until all run, and until all are gone again."""
    began = time.perf_counter()
    machines = list(threads.map(way.build, names))
    _until(lambda: way.running() == len(machines), "all machines to run")
    built = time.perf_counter()
    list(threads.map(way.destroy, machines))
    _until(lambda: way.present() == 0, "all machines to be gone")
    return built - began, time.perf_counter() - built


def _until(true: Callable[[], bool], what: str) -> None:
    until(true, what, LONGEST, every=0.25)


def measure(subject: Subject) -> list[Row]:
    """Round by round, first one way, then the other; before that each thread has signed in and made its lists."""
    ways: dict[str, Way] = {"ours": Ours(subject), "plain": Plain(subject)}
    pools = {name: ThreadPoolExecutor(THREADS, thread_name_prefix=name) for name in ways}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for name, way in ways.items():
        one_round(way, pools[name], [f"warm-{name}-{n}" for n in range(THREADS)])
    for number in range(ROUNDS):
        for name, way in sorted(ways.items(), reverse=number % 2 == 1):
            took[name].append(one_round(way, pools[name], [f"b{number}-{n}" for n in range(ROUND)]))
    left = ways["plain"].present()
    for pool in pools.values():
        pool.shutdown()
    made = ROUNDS * ROUND
    rates = {name: made / sum(up + down for up, down in rounds) for name, rounds in took.items()}
    ratio = rates["ours"] / rates["plain"]
    each = statistics.median(ours[0] / plain[0] for ours, plain in zip(took["ours"], took["plain"], strict=True))
    note = f"{made} machines of each way, {THREADS} threads; time to build {each:.2f} x Libcloud's"
    return [
        Row(
            *("openstack, machines built and destroyed", rates["ours"], "/s", "Libcloud alone", rates["plain"], ratio),
            target=WORST,
            met=ratio >= WORST,
            note=note,
        ),
        Row("openstack, machines left behind", left, "machines", target=0, met=left == 0),
    ]


def rows() -> list[Row]:
    """A cloud of the benchmark's own, which goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="beamdesk-bench-") as folder, nova(Path(folder)) as subject:
        return measure(subject)
