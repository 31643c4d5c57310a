"""What the broker relies on, of every cloud alike."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.clouds.adapter import CLOUD, MACHINE, Cloud, CloudNode, open_cloud
from broker.errors import CloudFault, CloudFull, CloudRefused
from tests.conformance.clouds.subjects import Subject
from tests.peers.wires import CONSOLE
from tests.waiting import until

Running = Callable[[CloudNode], CloudNode]


def test_a_node_is_begun_at_once_and_runs_with_an_address_some_time_later(
    subject: Subject, cloud: Cloud, running: Running
) -> None:
    begun = cloud.build(subject.spec("a1"))
    assert begun.state in ("building", "running")
    node = running(begun)
    assert (node.id, node.name) == (begun.id, "a1")
    assert node.tags[MACHINE] == "a1"


def test_the_same_request_again_is_the_same_node(subject: Subject, cloud: Cloud) -> None:
    first = cloud.build(subject.spec("b1"))
    assert cloud.build(subject.spec("b1")).id == first.id
    assert [node.id for node in cloud.list_ours("conformance") if node.state != "gone"] == [first.id]


def test_nodes_asked_for_at_the_same_time_all_run(subject: Subject, cloud: Cloud, running: Running) -> None:
    """From threads, each of which opens the cloud for itself."""
    specs = [subject.spec(f"t{number}") for number in range(3)]
    with ThreadPoolExecutor(len(specs)) as threads:
        made = list(threads.map(lambda spec: open_cloud(subject.settings).build(spec), specs))
    addresses = {running(node).address for node in made}
    assert len(addresses) == len(specs)


def test_a_list_has_all_that_is_ours_and_nothing_else(subject: Subject, cloud: Cloud, running: Running) -> None:
    ours = running(cloud.build(subject.spec("c1")))
    theirs = cloud.build(subject.spec("c2", "others"))
    [listed] = [node for node in cloud.list_ours("conformance") if node.state != "gone"]
    assert (listed.id, listed.state, listed.address) == (ours.id, "running", ours.address)
    assert listed.tags[CLOUD] == subject.settings.name
    assert theirs.id in {node.id for node in cloud.list_ours("others")}
    neighbour = open_cloud(subject.settings.model_copy(update={"name": "neighbour"}))
    assert neighbour.list_ours("conformance") == [], "another cloud of the settings, in the same account"


def test_a_destroyed_node_goes_and_destroying_it_again_is_no_error(
    subject: Subject, cloud: Cloud, running: Running
) -> None:
    node = running(cloud.build(subject.spec("d1")))
    cloud.destroy(node.id)
    cloud.destroy(node.id)

    def gone() -> bool:
        found = cloud.find(node.id)
        assert found is None or found.state in ("running", "deleting", "gone")
        return found is None or found.state == "gone"

    until(gone, "the node to go", 60)
    cloud.destroy(node.id)


def test_a_node_that_nobody_knows_is_none_and_removing_it_is_no_error(subject: Subject, cloud: Cloud) -> None:
    assert cloud.find(subject.unknown) is None
    cloud.destroy(subject.unknown)


def test_what_can_be_asked_for_is_listed(subject: Subject, cloud: Cloud) -> None:
    sizes = {size.name: size for size in cloud.sizes()}
    assert sizes[subject.size].cores == subject.cores
    assert 0 < sizes[subject.size].memory_gb < 2
    assert subject.settings.image in {image.name for image in cloud.images()} | {image.id for image in cloud.images()}
    assert not subject.gpu_size or sizes[subject.gpu_size].gpus == 1


@pytest.mark.parametrize("what", ["size_id", "image_id"])
def test_what_it_does_not_have_is_refused_by_name(subject: Subject, cloud: Cloud, what: str) -> None:
    with pytest.raises(CloudRefused, match="no-such-thing"):
        cloud.build(subject.spec("e1", **{what: "no-such-thing"}))
    assert [node for node in cloud.list_ours("conformance") if node.state != "gone"] == []


def test_settings_that_lead_nowhere_are_an_error_that_names_the_cloud(subject: Subject) -> None:
    with pytest.raises(CloudFault, match=f"^{subject.settings.title} "):
        open_cloud(subject.strangers).list_ours("conformance")


def test_room_counts_what_is_there(subject: Subject, cloud: Cloud, running: Running) -> None:
    """A cloud that sets no limit says nothing; one that does counts each node."""
    before = cloud.room().nodes
    running(cloud.build(subject.spec("f1")))
    after = cloud.room().nodes
    assert (before is None and after is None) or (before is not None and after == before - 1)


# Nova's fake hypervisor uploads nothing: test_openstack.py does it in its stead.
@pytest.mark.parametrize("subject", ["local", "ec2"], indirect=True)
def test_an_image_of_a_node_can_be_built_from_and_removed(subject: Subject, cloud: Cloud, running: Running) -> None:
    """It can be used when it was saved, it is listed, and removing it twice is no error."""
    node = running(cloud.build(subject.spec("i1")))
    image = cloud.save_image(node.id, "conformance-image", {"beamdesk-environment": "light"})
    assert image.id in {each.id for each in cloud.images()}
    made = running(cloud.build(subject.spec("i2", image_id=image.id)))
    cloud.destroy(made.id)
    until(lambda: (found := cloud.find(made.id)) is None or found.state == "gone", "the second node to go", 60)
    cloud.delete_image(image.id)
    cloud.delete_image(image.id)
    assert image.id not in {each.id for each in cloud.images()}


# Boot diagnostics, the serial port, OneGate, the guest's agent. Nothing is behind the nodes of the others.
@pytest.mark.parametrize("subject", ["azure", "gce", "opennebula", "libvirt"], indirect=True)
def test_the_cloud_itself_tells_the_host_key_of_a_node(subject: Subject, cloud: Cloud, running: Running) -> None:
    key = cloud.vouch(running(cloud.build(subject.spec("j1"))))
    assert key
    assert key in CONSOLE


@pytest.mark.parametrize(
    ("subject", "size", "said"),
    [
        ("azure", "Standard_D8s_v5", "exceeding approved Total Regional Cores quota"),
        ("gce", "e2-standard-8", "Quota 'CPUS' exceeded"),
    ],
    indirect=["subject"],
)
def test_a_region_without_cores_is_full(subject: Subject, cloud: Cloud, size: str, said: str) -> None:
    for name in ("k1", "k2"):
        cloud.build(subject.spec(name, size_id=size))
    with pytest.raises(CloudFull, match=said):
        cloud.build(subject.spec("k3", size_id=size))
