"""One of each cloud, for all promises."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from broker.clouds.adapter import Cloud, CloudNode, open_cloud
from tests.conformance.clouds.subjects import SUBJECTS, Subject
from tests.waiting import until

DEPLOYMENTS = ("conformance", "others")


@pytest.fixture(scope="session", params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """Each cloud in turn."""
    if request.param == "local" and os.getuid() != 0:
        pytest.skip("makes machines, which needs root")
    with SUBJECTS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def cloud(subject: Subject) -> Iterator[Cloud]:
    """The cloud, as the broker has it; the nodes of a test are removed after it."""
    opened = open_cloud(subject.settings)
    yield opened
    for deployment in DEPLOYMENTS:
        for node in opened.list_ours(deployment):
            opened.destroy(node.id)
        until(lambda d=deployment: all(n.state == "gone" for n in opened.list_ours(d)), "all nodes to go", 60)


@pytest.fixture
def running(cloud: Cloud) -> Callable[[CloudNode], CloudNode]:
    """Waits until a node runs."""

    def wait(node: CloudNode) -> CloudNode:
        def look() -> CloudNode | None:
            found = cloud.find(node.id)
            assert found is not None
            assert found.state in ("building", "running"), found
            return found if found.state == "running" and found.address else None

        return until(look, f"{node.name} to run", 60)

    return wait
