"""How EC2's states and refusals are read."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from libcloud.common.exceptions import BaseHTTPError
from libcloud.compute.base import Node
from libcloud.compute.drivers.ec2 import NAMESPACE
from libcloud.compute.types import NodeState

from broker.clouds.adapter import Cloud, CloudNode, open_cloud
from broker.clouds.ec2 import Ec2Cloud
from broker.clouds.faults import faults
from broker.errors import BadSettings, CloudBusy, CloudFault, CloudFull, CloudRefused, CloudSignInRefused
from broker.settings import CloudSettings
from tests.peers.wires import CONSOLE

OPTIONS = {"access_key": "a", "secret_key": "s", "region": "eu-west-2", "subnet": "subnet-1"}


def opened(**options: str) -> Cloud:
    return open_cloud(
        CloudSettings(name="aws", title="Amazon", driver="ec2", location="london", image="ami-1", options=options)
    )


@pytest.mark.parametrize(
    ("libclouds", "status", "phase", "error"),
    [
        (NodeState.PENDING, "pending", "building", None),
        (NodeState.RUNNING, "running", "running", None),
        (NodeState.UNKNOWN, "shutting-down", "deleting", None),
        (NodeState.UNKNOWN, "stopped", "failed", "it is stopped"),
        (NodeState.TERMINATED, "terminated", "gone", None),
    ],
)
def test_a_state_is_read_by_ec2s_own_name(libclouds: str, status: str, phase: str, error: str | None) -> None:
    cloud = opened(**OPTIONS)
    assert isinstance(cloud, Ec2Cloud)
    seen = cloud.describe(Node("i-1", "n", libclouds, [], [], cloud.driver, extra={"status": status, "tags": {}}))
    assert (seen.state, seen.error) == (phase, error)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (500, "InsufficientInstanceCapacity: none left", CloudFull),
        (400, "InstanceLimitExceeded: 20", CloudFull),
        (400, "VcpuLimitExceeded: 32", CloudFull),
        (400, "InvalidParameterValue: subnet", CloudRefused),
        (503, "RequestLimitExceeded: slower", CloudBusy),
        (401, "AuthFailure: your clock is off", CloudSignInRefused),
        (500, "InternalError: ours", CloudFault),
    ],
)
def test_a_lack_of_room_is_told_from_other_refusals(status: int, said: str, kind: type[CloudFault]) -> None:
    with pytest.raises(CloudFault) as caught, faults("Amazon", "building m1"):
        raise BaseHTTPError(status, said)
    assert type(caught.value) is kind


def test_wrong_options_are_named() -> None:
    with pytest.raises(BadSettings, match=r"clouds\.aws\.options\.subnet: Field required"):
        opened(**{key: value for key, value in OPTIONS.items() if key != "subnet"})


@pytest.mark.parametrize(
    ("name", "gpus", "model"), [("g4dn.xlarge", 1, "T4"), ("p4d.24xlarge", 8, "A100"), ("t3.micro", 0, "")]
)
def test_the_gpus_of_a_type_have_a_model(name: str, gpus: int, model: str) -> None:
    sizes = {size.name: size for size in opened(**{**OPTIONS, "region": "us-east-1"}).sizes()}
    assert (sizes[name].gpus, sizes[name].gpu_model) == (gpus, model)


def test_a_type_is_looked_up_by_its_name() -> None:
    cloud = opened(**OPTIONS)
    assert isinstance(cloud, Ec2Cloud)
    assert cloud._size("t3.micro").id == "t3.micro"
    with pytest.raises(CloudRefused, match=r"^Amazon has no size t3\.nano-ish\.$"):
        cloud._size("t3.nano-ish")


def test_a_console_that_is_cut_within_a_letter_still_tells_the_host_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon shows its last 64 KB."""
    cloud = opened(**OPTIONS)
    assert isinstance(cloud, Ec2Cloud)
    told = base64.b64encode("…".encode()[1:] + CONSOLE.encode()).decode()
    answer = ElementTree.fromstring(f'<Console xmlns="{NAMESPACE}"><output>{told}</output></Console>')  # noqa: S314
    monkeypatch.setattr(cloud.driver.connection, "request", lambda *_, **__: SimpleNamespace(object=answer))
    key = cloud.vouch(CloudNode("i-1", "m1", "running", "10.0.0.1", None, {}))
    assert key
    assert key in CONSOLE
