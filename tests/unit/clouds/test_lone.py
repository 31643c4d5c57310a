"""One machine for a purpose of its own, on a cloud that misbehaves as it is removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from broker.clouds import lone
from broker.clouds.adapter import BuildSpec, CloudNode
from broker.clouds.lone import LoneMachine
from broker.errors import CloudFault, CloudRefused, CloudUnreachable

SILENT = CloudUnreachable("Harwell did not answer.")


@dataclass
class FakeCloud:
    """Has what was built, and answers its list with these faults first."""

    faults: list[CloudFault] = field(default_factory=list)
    nodes: dict[str, CloudNode] = field(default_factory=dict)

    def build(self, spec: BuildSpec) -> CloudNode:
        if spec.size_id == "none":
            raise SILENT
        return self.nodes.setdefault("n1", CloudNode("n1", spec.name, "running", "10.0.0.1", "key", spec.tags))

    def list_ours(self, deployment: str) -> list[CloudNode]:
        if self.faults:
            raise self.faults.pop(0)
        return list(self.nodes.values())

    def destroy(self, node_id: str) -> None:
        del self.nodes[node_id]


def begun(cloud: Any, size: str = "small") -> LoneMachine:
    machine = LoneMachine(cloud, "dls", "check")
    machine.begin(size, "image", "ca")
    return machine


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone, "EVERY", 0.0)


def test_a_machine_is_removed_though_its_cloud_does_not_answer_at_first() -> None:
    cloud = FakeCloud(faults=[SILENT, SILENT])
    assert begun(cloud).remove() == "nothing is left"
    assert cloud.nodes == {}


def test_what_could_not_be_removed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone, "GOES_WITHIN", 0.0)
    machine = begun(FakeCloud(faults=[SILENT] * 9))
    with pytest.raises(CloudFault, match="Harwell did not answer") as caught:
        machine.remove()
    assert caught.value.hint == f"Remove {machine.name} by the cloud's own tools."


def test_a_cloud_that_says_no_is_asked_once() -> None:
    machine = begun(FakeCloud(faults=[CloudRefused("no")]))
    with pytest.raises(CloudRefused):
        machine.remove()


def test_nobody_waits_for_a_cloud_that_gave_no_machine() -> None:
    machine = LoneMachine(FakeCloud(faults=[SILENT] * 9), "dls", "check")  # type: ignore[arg-type]
    with pytest.raises(CloudUnreachable):
        machine.begin("none", "image", "ca")
    with pytest.raises(CloudUnreachable):
        machine.remove()
