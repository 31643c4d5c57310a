"""The local cloud as Libcloud's users and the broker see it: driver and adapter over the real daemon."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from libcloud.compute.base import Node
from libcloud.compute.providers import get_driver
from libcloud.compute.types import NodeState

from broker.clouds import local
from broker.clouds.adapter import BuildSpec, Cloud, CloudNode, open_cloud
from broker.clouds.local import LocalCloudError
from broker.errors import CloudFull, CloudRefused, CloudUnreachable
from broker.settings import CloudSettings
from tests.integration.localcloud.daemon import Daemon, Machine, MakeDaemon
from tests.waiting import until

pytestmark = pytest.mark.machines


def driver_of(cloud: Daemon, **options: Any) -> Any:
    """The driver, as Libcloud finds it by its name."""
    local.register()
    local.register()
    return get_driver(local.PROVIDER)(socket=str(cloud.socket), **options)


def settings_of(cloud: Daemon, location: str = "ral") -> CloudSettings:
    return CloudSettings(
        name=location,
        title="Harwell",
        driver="beamdesk-local",
        location=location,
        image="host",
        options={"socket": str(cloud.socket)},
    )


def spec(cloud: Daemon, name: str, **changes: Any) -> BuildSpec:
    """A machine of the deployment "tests"."""
    tags = {"beamdesk-deployment": "tests", "beamdesk-machine": name}
    values = {"size_id": "small", "image_id": "host", "tags": tags, "request_id": f"tests-{name}"}
    return BuildSpec(name=name, ssh_ca=cloud.authority, **{**values, **changes})


@pytest.fixture
def broker(cloud: Daemon) -> Iterator[Cloud]:
    """The adapter; the deployment's machines are removed after the test."""
    opened = open_cloud(settings_of(cloud))
    yield opened
    cloud.destroy(*({"id": node.id} for node in opened.list_ours("tests") if node.state != "gone"))


def running(broker: Cloud, node: CloudNode) -> CloudNode:
    """The node when it runs."""

    def up() -> CloudNode | None:
        found = broker.find(node.id)
        return found if found is not None and found.state == "running" else None

    return until(up, f"{node.id} to run")


def test_libcloud_makes_lists_tags_and_destroys_a_node(cloud: Daemon) -> None:
    driver = driver_of(cloud)
    size, image, location = driver.list_sizes()[0], driver.list_images()[0], driver.list_locations()[1]
    assert (size.id, size.ram, size.disk, size.extra["cores"]) == ("small", 256, 0.125, 1)
    made = driver.create_node("n1", size, image, location, ex_tags={"a": "b"}, ex_ssh_ca=cloud.authority)
    assert (made.state, made.extra["location"], made.extra["tags"]) == (NodeState.PENDING, "dl", {"a": "b"})
    [(node, [address])] = driver.wait_until_running([made], wait_period=0.05, timeout=30, ssh_interface="private_ips")
    assert (node.id, node.name, node.state) == (made.id, "n1", NodeState.RUNNING)
    assert [address] == made.private_ips
    assert driver.ex_set_tags(node, {"c": "d"}).extra["tags"] == {"c": "d"}
    assert Machine(cloud, cloud.nodes()[node.id]).says("hostname") == "n1"
    assert driver.destroy_node(node)
    assert node.id in [other.id for other in driver.list_nodes()]
    until(lambda: driver.ex_get_node(node.id).state == NodeState.TERMINATED, "the node to end")
    assert driver.destroy_node(node)


def test_libcloud_makes_attaches_and_destroys_a_volume(cloud: Daemon, other: Machine) -> None:
    driver = driver_of(cloud)
    node, volume = driver.ex_get_node(other.id), driver.create_volume(0, "of-libcloud", ex_owner=20010)
    assert "of-libcloud" in [each.id for each in driver.list_volumes()]
    assert driver.attach_volume(node, volume, "/home/libcloud")
    assert other.says("stat -c %u /home/libcloud") == "20010"
    with pytest.raises(LocalCloudError, match="volume of-libcloud is attached") as caught:
        driver.destroy_volume(volume)
    assert caught.value.status == 409
    assert driver.ex_detach_volume(node, volume)
    assert driver.destroy_volume(volume)


def test_what_the_daemon_refuses_libcloud_raises_with_its_reason(cloud: Daemon) -> None:
    driver = driver_of(cloud)
    nobody = Node("n-0", "", NodeState.UNKNOWN, [], [], driver)
    with pytest.raises(LocalCloudError, match="there is no node n-0") as caught:
        driver.destroy_node(nobody)
    assert caught.value.status == 404


def test_a_machine_of_the_brokers_goes_from_building_to_gone(cloud: Daemon, broker: Cloud) -> None:
    asked = broker.build(spec(cloud, "b1"))
    assert (asked.state, asked.host_key) == ("building", None)
    assert broker.build(spec(cloud, "b1")).id == asked.id
    node = running(broker, asked)
    assert (node.name, node.address, node.error) == ("b1", asked.address, None)
    assert node.tags["beamdesk-machine"] == "b1"
    assert Machine(cloud, cloud.nodes()[node.id]).says("hostname") == "b1"
    broker.destroy(node.id)
    until(lambda: getattr(broker.find(node.id), "state", None) == "gone", "the node to go")
    broker.destroy(node.id)


def test_the_broker_sees_its_own_machines_in_its_own_location_only(
    cloud: Daemon, machine: Machine, broker: Cloud
) -> None:
    ours = broker.build(spec(cloud, "b2"))
    elsewhere = open_cloud(settings_of(cloud, "dl")).build(spec(cloud, "b3"))
    others = broker.build(spec(cloud, "b4", tags={"beamdesk-deployment": "other"}))
    listed = {node.id for node in broker.list_ours("tests") if node.state != "gone"}
    cloud.destroy({"id": elsewhere.id}, {"id": others.id})
    assert listed == {ours.id}


def test_a_broken_machine_is_failed_with_its_reason(cloud: Daemon, broker: Cloud) -> None:
    node = running(broker, broker.build(spec(cloud, "b5")))
    os.kill(Machine(cloud, cloud.nodes()[node.id]).init, signal.SIGKILL)
    found = until(lambda: (seen := broker.find(node.id)) and seen.state == "failed" and seen, "the failure")
    assert found.error == "the machine's first process has ended"


def test_a_home_is_attached_once_however_often_it_is_asked(cloud: Daemon, broker: Cloud) -> None:
    node = running(broker, broker.build(spec(cloud, "b6")))
    for _ in range(2):
        broker.attach_home(node.id, "home-of-bob", 20011, "/home/bob")
    assert (
        Machine(cloud, cloud.nodes()[node.id]).says("stat -c %u /home/bob; grep -c /home/bob /proc/mounts")
        == "20011\n1"
    )
    with pytest.raises(CloudRefused, match=r"Harwell said no while attaching home-of-bob: .*another owner's"):
        broker.attach_home(node.id, "home-of-bob", 20012, "/home/bob")


def test_an_unknown_machine_is_none_and_its_removal_no_error(broker: Cloud) -> None:
    assert broker.find("n-000000000000") is None
    broker.destroy("n-000000000000")


def test_a_wrong_wish_is_refused_with_the_clouds_words(cloud: Daemon, broker: Cloud) -> None:
    with pytest.raises(CloudRefused, match="Harwell said no while building b7: no such size: 'huge'; there are small"):
        broker.build(spec(cloud, "b7", size_id="huge"))


def test_a_full_cloud_is_told_from_one_that_refuses(own_cloud: MakeDaemon) -> None:
    cloud = own_cloud(max_nodes=1).start()
    opened = open_cloud(settings_of(cloud))
    opened.build(spec(cloud, "only"))
    with pytest.raises(CloudFull, match="Harwell said no while building more: this cloud holds at most 1 nodes"):
        opened.build(spec(cloud, "more"))


def test_a_daemon_that_is_away_or_hangs_is_unreachable_and_then_there_again(mortal: Daemon) -> None:
    opened = open_cloud(settings_of(mortal))
    node = running(opened, opened.build(spec(mortal, "stays")))
    mortal.crash()
    for call in (lambda: opened.list_ours("tests"), lambda: opened.destroy(node.id), lambda: opened.find(node.id)):
        with pytest.raises(CloudUnreachable, match=f"no local cloud answers at {mortal.socket} .Connection refused"):
            call()
    mortal.socket.unlink()
    with pytest.raises(CloudUnreachable, match="No such file"):
        opened.list_ours("tests")
    mortal.start()
    assert opened.find(node.id) == node
    mortal.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            driver_of(mortal, timeout=0.2).list_nodes()
    finally:
        mortal.process.send_signal(signal.SIGCONT)
    assert [each.id for each in opened.list_ours("tests")] == [node.id]


def test_each_thread_has_a_driver_of_its_own(cloud: Daemon) -> None:
    settings = settings_of(cloud)
    assert open_cloud(settings) is open_cloud(settings)
    assert open_cloud(settings) is not open_cloud(settings_of(cloud, "dl"))
    found: list[Cloud] = []
    thread = threading.Thread(target=lambda: found.append(open_cloud(settings)))
    thread.start()
    thread.join()
    assert found[0] is not open_cloud(settings)
    assert {node.id for node in found[0].list_ours("nobody")} == set()
