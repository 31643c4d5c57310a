"""What only OpenNebula has, on its recorded wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.clouds.adapter import Cloud, CloudNode, open_cloud
from broker.errors import CloudFull, CloudUnreachable
from tests.conformance.clouds.subjects import Subject
from tests.peers.wires import opennebula
from tests.ports import free_port

pytestmark = pytest.mark.parametrize("subject", ["opennebula"], indirect=True)
Running = Callable[[CloudNode], CloudNode]


def test_an_opennebula_machine_has_the_newest_image_of_the_name_and_the_network_of_the_settings(
    subject: Subject, cloud: Cloud
) -> None:
    node = cloud.build(subject.spec("b1"))
    machine = subject.wire.machines[int(node.id)]
    found = [machine.findtext(f"TEMPLATE/{path}") for path in ("DISK/IMAGE_ID", "NIC/NETWORK_ID", "CONTEXT/NETWORK")]
    assert found == ["7", "5", "YES"]


def test_an_opennebula_user_whose_quota_is_used_up_finds_the_cloud_full(subject: Subject, cloud: Cloud) -> None:
    for number in range(opennebula.NODES):
        cloud.build(subject.spec(f"c{number}"))
    assert cloud.room().nodes == 0
    with pytest.raises(CloudFull, match="limit of 10 reached for VMS quota"):
        cloud.build(subject.spec("one-more"))


def test_an_opennebula_that_does_not_answer_is_said_to_be_so(subject: Subject) -> None:
    options = {**subject.settings.options, "endpoint": f"http://127.0.0.1:{free_port()}/RPC2"}
    nobody = open_cloud(subject.settings.model_copy(update={"name": "nobody", "options": options}))
    with pytest.raises(CloudUnreachable, match="OpenNebula did not answer while listing machines"):
        nobody.list_ours("conformance")


def test_an_opennebula_machine_whose_answer_was_lost_is_made_once(subject: Subject, cloud: Cloud) -> None:
    subject.wire.loses_answers = True
    with pytest.raises(CloudUnreachable):
        cloud.build(subject.spec("d1"))
    subject.wire.loses_answers = False
    node = cloud.build(subject.spec("d1"))
    assert [each.id for each in cloud.list_ours("conformance")] == [node.id]
