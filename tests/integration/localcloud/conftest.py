"""One cloud for most tests, and clouds of a test's own for those that kill, fill or purge them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.integration.localcloud.daemon import Daemon, Machine, MakeDaemon


@pytest.fixture(scope="session", autouse=True)
def _as_root() -> None:
    if os.getuid() != 0:
        pytest.skip("makes machines, which needs root")


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The cloud that tests share; each cleans up what it made."""
    with closing(Daemon(tmp_path_factory.mktemp("shared"), "10.231.50.0/25").start()) as daemon:
        yield daemon


@pytest.fixture(scope="package")
def machine(cloud: Daemon) -> Machine:
    """A bare machine that no test changes."""
    return cloud.machine("looked-at", tags={"kind": "bare"})


@pytest.fixture
def other(cloud: Daemon) -> Iterator[Machine]:
    """A machine of one test's own."""
    made = cloud.machine("other")
    yield made
    cloud.destroy(made.node)


@pytest.fixture(scope="package")
def _second_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with closing(Daemon(tmp_path_factory.mktemp("mortal"), "10.231.50.192/26").start()) as daemon:
        yield daemon


@pytest.fixture
def mortal(_second_cloud: Daemon) -> Iterator[Daemon]:
    """A cloud whose daemon a test may kill and start; it has no nodes at first."""
    yield _second_cloud
    if _second_cloud.process.poll() is not None:
        _second_cloud.start()
    _second_cloud.destroy(*_second_cloud.nodes().values())


@pytest.fixture
def own_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeDaemon]:
    """Makes clouds for one test, which are removed after it: own_cloud(), own_cloud(subnet, max_nodes=3)."""
    with ExitStack() as stack:

        def make(subnet: str = "10.231.50.128/28", **settings: object) -> Daemon:
            daemon = Daemon(tmp_path_factory.mktemp("own"), subnet, **settings)  # type: ignore[arg-type]
            stack.callback(daemon.close)
            return daemon

        yield make
