"""What an OpenStack's options must say, and how Nova's states are read."""

from __future__ import annotations

from typing import Any

import pytest
from libcloud.compute.base import Node
from libcloud.compute.types import NodeState

from broker.clouds.adapter import open_cloud
from broker.clouds.openstack import OpenStackCloud
from broker.errors import BadSettings
from broker.settings import CloudSettings

SIGN_IN = {"username": "u", "password": "p", "project": "j"}
CREDENTIAL = {"application_credential_id": "i", "application_credential_secret": "s"}
PLACE = {"auth_url": "http://127.0.0.1:9/v3", "network": "net1"}


def settings(**options: str) -> CloudSettings:
    return CloudSettings(name="s", title="STFC", driver="openstack", location="ral", image="i", options=options)


@pytest.mark.parametrize("who", [SIGN_IN, CREDENTIAL])
def test_a_password_or_an_application_credential_will_do(who: dict[str, str]) -> None:
    assert isinstance(open_cloud(settings(**PLACE, **who)), OpenStackCloud)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (PLACE, "give application_credential_id and application_credential_secret, or username, password and project"),
        ({**PLACE, "username": "u", "password": "p"}, "username, password and project"),
        ({**SIGN_IN, "auth_url": "http://x"}, r"clouds\.s\.options\.network: Field required"),
        ({**PLACE, **SIGN_IN, "flavor": "m1"}, r"clouds\.s\.options\.flavor: Extra inputs are not permitted"),
        ({**PLACE, **SIGN_IN, "config_drive": "1"}, r"clouds\.s\.options\.config_drive: Input should be 'yes' or 'no'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, str], said: str) -> None:
    with pytest.raises(BadSettings, match=said) as caught:
        open_cloud(settings(**options))
    assert "openstack takes these options: auth_url, region" in caught.value.hint


@pytest.mark.parametrize(
    ("state", "extra", "phase", "error"),
    [
        (NodeState.PENDING, {"vm_state": "building"}, "building", None),
        (NodeState.RUNNING, {"vm_state": "active"}, "running", None),
        (NodeState.RUNNING, {"vm_state": "active", "task_state": "deleting"}, "deleting", None),
        (NodeState.ERROR, {"fault": {"message": "No valid host was found. "}}, "failed", "No valid host was found."),
        (NodeState.STOPPED, {"vm_state": "stopped"}, "failed", "it is stopped"),
        (NodeState.UNKNOWN, {"vm_state": "shelved_offloaded"}, "failed", "it is shelved_offloaded"),
        (NodeState.TERMINATED, {}, "gone", None),
    ],
)
def test_a_state_is_read_as_what_it_means_for_a_user(
    state: Any, extra: dict[str, Any], phase: str, error: str | None
) -> None:
    cloud = OpenStackCloud(settings(**PLACE, **SIGN_IN))
    seen = cloud.describe(Node("id", "name", state, [], ["10.0.0.5"], cloud.driver, extra={"metadata": {}, **extra}))
    assert (seen.state, seen.error) == (phase, error)
