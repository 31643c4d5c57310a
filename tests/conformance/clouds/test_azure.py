"""What only Azure has, on its recorded wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.clouds.adapter import Cloud, CloudNode, open_cloud
from tests.conformance.clouds.subjects import Subject
from tests.peers.wires import arm
from tests.waiting import until

pytestmark = pytest.mark.parametrize("subject", ["azure"], indirect=True)
Running = Callable[[CloudNode], CloudNode]


def test_an_azure_machine_that_is_removed_leaves_no_interface_and_no_disk(
    subject: Subject, cloud: Cloud, running: Running
) -> None:
    node = running(cloud.build(subject.spec("a1")))
    assert (len(subject.wire.interfaces), len(subject.wire.disks)) == (1, 1)
    cloud.destroy(node.id)
    until(lambda: cloud.find(node.id) is None, "the node to go")
    assert (subject.wire.interfaces, subject.wire.disks) == ({}, {})


def test_what_was_asked_of_azure_is_what_the_settings_say(subject: Subject, cloud: Cloud) -> None:
    """The zone, the image of the marketplace and the group of security rules, and no password."""
    image = "Debian:debian-12:12-gen2:latest"
    options = {**subject.settings.options, "zone": "2", "security_group": "/nsg"}
    settings = subject.settings.model_copy(update={"name": "zoned", "image": image, "options": options})
    opened = open_cloud(settings)
    assert image in {each.id for each in opened.images()}
    opened.build(subject.spec("d1", image_id=image))
    [machine] = subject.wire.machines.values()
    assert machine["zones"] == ["2"]
    has: dict[str, Any] = machine["properties"]
    assert has["storageProfile"]["imageReference"]["offer"] == "debian-12"
    assert has["networkProfile"]["networkInterfaces"][0]["properties"]["networkSecurityGroup"] == {"id": "/nsg"}
    assert has["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"] is True
    assert "adminPassword" not in has["osProfile"]
    for node in opened.list_ours("conformance"):
        opened.destroy(node.id)
    until(lambda: not opened.list_ours("conformance"), "the node to go")


def test_more_azure_machines_than_a_page_has_are_all_listed(subject: Subject, cloud: Cloud) -> None:
    names = {f"e{number}" for number in range(arm.PAGE + 1)}
    for name in names:
        cloud.build(subject.spec(name))
    listed = until(lambda: _with_addresses(cloud.list_ours("conformance"), len(names)), "the nodes to be listed")
    assert {node.name for node in listed} == names


def _with_addresses(nodes: list[CloudNode], count: int) -> list[CloudNode]:
    found = [node for node in nodes if node.address]
    return found if len(found) == count else []
