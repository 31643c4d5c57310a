"""How OpenNebula's states are read, and its templates written."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from broker.clouds.adapter import open_cloud
from broker.clouds.opennebula import OpenNebulaCloud
from broker.clouds.opennebula_driver import OpenNebulaError, vector
from broker.settings import CloudSettings

OPTIONS = {"endpoint": "https://one.example:2634/RPC2", "username": "u", "password": "p", "network": "n"}


@pytest.mark.parametrize(
    ("state", "lcm_state", "phase", "error"),
    [
        (1, 0, "building", None),  # PENDING
        (3, 1, "building", None),  # PROLOG
        (3, 2, "building", None),  # BOOT
        (3, 3, "running", None),
        (3, 17, "running", None),  # HOTPLUG
        (3, 12, "deleting", None),  # SHUTDOWN
        (3, 23, "deleting", None),  # CLEANUP_DELETE
        (3, 16, "failed", "it is unknown"),  # the host does not answer
        (3, 36, "failed", "it is error"),  # BOOT_FAILURE
        (8, 0, "failed", "it is stopped"),  # POWEROFF
        (6, 0, "gone", None),  # DONE
    ],
)
def test_a_state_is_read_as_what_it_means_for_a_user(state: int, lcm_state: int, phase: str, error: str | None) -> None:
    cloud = open_cloud(
        CloudSettings(name="o", title="One", driver="opennebula", location="l", image="i", options=OPTIONS)
    )
    assert isinstance(cloud, OpenNebulaCloud)
    vm = f"<VM><ID>7</ID><NAME>m</NAME><STATE>{state}</STATE><LCM_STATE>{lcm_state}</LCM_STATE></VM>"
    seen = cloud.describe(cloud.driver._node(ET.fromstring(vm)))  # noqa: S314 (our own)
    assert (seen.id, seen.state, seen.error) == ("7", phase, error)


def test_what_would_end_a_value_of_a_template_is_escaped() -> None:
    assert vector("CONTEXT", {"A": 'say "hi"\\', "B": "2"}) == 'CONTEXT=[A="say \\"hi\\"\\\\", B="2"]'


@pytest.mark.parametrize(
    ("code", "said", "status"),
    [
        (0x0100, "User couldn't be authenticated", 401),
        (0x0400, "Error getting virtual machine [9].", 404),
        (0x0200, "User [2] : limit of 3 reached for VMS quota in VM.", 507),
        (0x2000, "Internal Error.", 500),
    ],
)
def test_an_error_has_https_nearest_status(code: int, said: str, status: int) -> None:
    assert OpenNebulaError(code, said).status == status
