"""What clouds do alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from libcloud.compute.base import Node, NodeImage

from broker.clouds import libcloud_cloud
from broker.clouds.adapter import BuildSpec, CloudImage, CloudSize
from broker.clouds.libcloud_cloud import LibcloudCloud, name_of_request
from broker.errors import CloudFault, CloudRefused
from broker.settings import CloudSettings

Looks = list[bool | BaseException]


class FakeDriver:
    """A Libcloud driver whose images can be deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def delete_image(self, image: NodeImage) -> bool:
        self.deleted.append(image.id)
        return True


class FakeCloud(LibcloudCloud):
    """Saves an image: each look at it finds this, or raises it."""

    def __init__(self, looks: Looks) -> None:
        settings = CloudSettings(name="ral", title="Harwell", driver="ec2", location="ral", image="i")
        super().__init__(settings, FakeDriver)
        self.looks = looks

    def begin_image(self, node: Node, name: str, tags: Mapping[str, str]) -> NodeImage:
        return NodeImage("i-1", name, self.driver)

    def is_saved(self, image_id: str) -> bool:
        look = self.looks.pop(0)
        if isinstance(look, BaseException):
            raise look
        return look

    def create(self, spec: BuildSpec) -> Node:
        raise NotImplementedError

    def look_up(self, node_id: str) -> Node | None:
        raise NotImplementedError

    def size_of(self, size: Any) -> CloudSize:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcloud_cloud, "LOOK_EVERY", 0.0)


def test_an_image_is_waited_for_though_its_cloud_does_not_answer_for_a_while() -> None:
    cloud = FakeCloud([False, TimeoutError(), ConnectionResetError(), True])
    assert cloud.save_image("n", "light-r1", {}) == CloudImage("i-1", "light-r1")
    assert cloud.driver.deleted == []


@pytest.mark.parametrize(
    ("look", "kind"), [(CloudRefused("It failed."), CloudRefused), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_an_image_that_is_not_finished_goes_for_another_one_wants_its_name(
    look: BaseException, kind: type[BaseException]
) -> None:
    cloud = FakeCloud([False, look])
    with pytest.raises(kind):
        cloud.save_image("n", "light-r1", {})
    assert cloud.driver.deleted == ["i-1"]


def test_an_image_that_takes_too_long_goes_and_why_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcloud_cloud, "SAVED_WITHIN", -1.0)
    cloud = FakeCloud([ConnectionResetError(104, "Connection reset by peer")])
    with pytest.raises(CloudFault, match=r"did not finish light-r1 within -1 s\. Harwell did not answer while saving"):
        cloud.save_image("n", "light-r1", {})
    assert cloud.driver.deleted == ["i-1"]


def test_the_name_of_a_request_is_its_own_and_short_enough_for_a_host() -> None:
    def named(name: str, request: str) -> str:
        return name_of_request(BuildSpec(name, "s", "i", {}, "ca", request))

    assert named("dls-m1", "dls-machine-1") == named("dls-m1", "dls-machine-1")
    assert named("dls-m1", "dls-machine-1") != named("dls-m1", "isis-machine-1")
    assert len(named("x" * 200, "r")) == 63
