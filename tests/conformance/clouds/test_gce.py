"""What only Google Compute Engine has, on its recorded wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.clouds.adapter import Cloud, CloudNode, open_cloud
from tests.conformance.clouds.subjects import Subject
from tests.waiting import until

pytestmark = pytest.mark.parametrize("subject", ["gce"], indirect=True)
Running = Callable[[CloudNode], CloudNode]


def test_a_google_machine_that_is_removed_leaves_no_disk(subject: Subject, cloud: Cloud, running: Running) -> None:
    node = running(cloud.build(subject.spec("a1")))
    assert len(subject.wire.disks) == 1
    cloud.destroy(node.id)
    until(lambda: cloud.find(node.id) is None, "the node to go")
    assert subject.wire.disks == {}


def test_a_google_machine_that_takes_longer_than_a_time_out_is_begun_nevertheless(
    subject: Subject, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.wire, "takes_its_time", True)
    hasty = open_cloud(subject.settings.model_copy(update={"timeout": 1}))
    node = hasty.build(subject.spec("g1"))
    assert node.id in subject.wire.machines
    assert node.name == "g1"


def test_a_google_machine_may_do_nothing_in_the_project_and_lets_in_nobody_of_it(
    subject: Subject, cloud: Cloud
) -> None:
    cloud.build(subject.spec("d1"))
    [machine] = subject.wire.machines.values()
    told = {item["key"]: item["value"] for item in machine["metadata"]["items"]}
    assert machine["serviceAccounts"] == []
    assert "accessConfigs" not in machine["networkInterfaces"][0]
    assert (told["block-project-ssh-keys"], told["enable-oslogin"]) == ("TRUE", "FALSE")
    assert told["user-data"].startswith("#cloud-config\n")


def test_a_google_machine_is_put_where_the_settings_say(subject: Subject, cloud: Cloud) -> None:
    options = {**subject.settings.options, "subnetwork": "machines", "network_tags": "desktops, lan"}
    open_cloud(subject.settings.model_copy(update={"options": options})).build(subject.spec("f1"))
    [machine] = subject.wire.machines.values()
    assert machine["networkInterfaces"][0]["subnetwork"].endswith("/regions/europe-west2/subnetworks/machines")
    assert machine["tags"]["items"] == ["desktops", "lan"]


@pytest.mark.parametrize(
    ("size", "preemptible", "scheduling"),
    [
        ("e2-micro", "no", {"preemptible": False, "automaticRestart": False}),
        ("e2-micro", "yes", {"preemptible": True, "onHostMaintenance": "TERMINATE", "automaticRestart": False}),
        ("g2-standard-4", "no", {"preemptible": False, "onHostMaintenance": "TERMINATE", "automaticRestart": False}),
    ],
)
def test_a_google_machine_with_gpus_or_that_may_be_pre_empted_does_not_move(
    subject: Subject, cloud: Cloud, size: str, preemptible: str, scheduling: dict[str, object]
) -> None:
    options = {**subject.settings.options, "preemptible": preemptible}
    settings = subject.settings.model_copy(update={"options": options, "image": "debian-cloud/debian-12"})
    opened = open_cloud(settings)
    assert settings.image in {image.id for image in opened.images()}
    opened.build(subject.spec("e1", size_id=size, image_id=settings.image))
    [machine] = subject.wire.machines.values()
    assert machine["scheduling"] == scheduling
    machine["status"] = "TERMINATED"  # as Google stops what it pre-empts
    [seen] = opened.list_ours("conformance")
    assert (seen.state, seen.error) == ("failed", "it is terminated")
