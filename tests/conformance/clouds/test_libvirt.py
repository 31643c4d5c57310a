"""What only libvirt has, on its own test driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.clouds.adapter import Cloud, CloudNode, open_cloud
from broker.clouds.libvirt import LibvirtCloud
from broker.errors import CloudUnreachable
from tests.conformance.clouds.subjects import Subject

pytestmark = pytest.mark.parametrize("subject", ["libvirt"], indirect=True)
Running = Callable[[CloudNode], CloudNode]


def volumes(cloud: Cloud) -> set[str]:
    return {image.name for image in cloud.images()}


def test_a_domain_that_is_removed_leaves_no_disk(subject: Subject, cloud: Cloud) -> None:
    before = volumes(cloud)
    node = cloud.build(subject.spec("a1"))
    assert len(volumes(cloud)) == len(before) + 2
    cloud.destroy(node.id)
    assert volumes(cloud) == before


def test_a_domain_whose_disks_failed_is_known_as_ours_and_finished_by_the_same_request(
    subject: Subject, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ConnectionError("the host went away")

    with monkeypatch.context() as patched:
        patched.setattr(LibvirtCloud, "_upload", fails)
        with pytest.raises(CloudUnreachable, match="the host went away"):
            cloud.build(subject.spec("b1"))
    [half] = cloud.list_ours("conformance")
    assert half.state == "building"
    whole = cloud.build(subject.spec("b1"))
    assert (whole.id, whole.state) == (half.id, "running")


def test_a_domain_gets_its_user_data_on_a_disk_by_the_name_of_cidata(subject: Subject, cloud: Cloud) -> None:
    subject.wire.clear()
    cloud.build(subject.spec("c1"))
    [seed] = subject.wire
    assert seed[0x8001:0x8006] == b"CD001"
    assert seed[0x8028:0x802E] == b"cidata"
    assert b"#cloud-config" in seed
    assert b"local-hostname" in seed


def test_a_domain_that_goes_while_it_is_listed_does_not_spoil_the_list(
    subject: Subject, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, there = cloud.build(subject.spec("f1")), cloud.build(subject.spec("f2"))
    kind = type(open_cloud(subject.settings).host)  # type: ignore[attr-defined]
    whole = kind.listAllDomains

    def lists_one_that_goes(host: Any, flags: int) -> list[Any]:
        found: list[Any] = whole(host, flags)
        cloud.destroy(going.id)
        return found

    monkeypatch.setattr(kind, "listAllDomains", lists_one_that_goes)
    assert [node.id for node in cloud.list_ours("conformance")] == [there.id]


def test_a_domain_that_stopped_has_failed(subject: Subject, cloud: Cloud, running: Running) -> None:
    node = running(cloud.build(subject.spec("e1")))
    opened = open_cloud(subject.settings)
    assert isinstance(opened, LibvirtCloud)
    opened.host.lookupByUUIDString(node.id).destroy()
    seen = cloud.find(node.id)
    assert seen
    assert (seen.state, seen.error) == ("failed", "its domain does not run")
