"""How Azure's sizes and states are read."""

from __future__ import annotations

from typing import Any

import pytest
from libcloud.compute.base import Node
from libcloud.compute.types import NodeState

from broker.clouds.adapter import open_cloud
from broker.clouds.azure import AzureCloud
from broker.errors import BadSettings
from broker.settings import CloudSettings

PRINCIPAL = {"tenant": "t", "subscription": "s", "client_id": "c", "client_secret": "k"}
PLACE = {"region": "uksouth", "resource_group": "g", "subnet": "/subnet"}


def opened(**options: str) -> AzureCloud:
    settings = CloudSettings(name="az", title="Azure", driver="azure", location="london", image="i", options=options)
    cloud = open_cloud(settings)
    assert isinstance(cloud, AzureCloud)
    return cloud


@pytest.mark.parametrize(
    ("name", "gpus", "model"),
    [
        ("Standard_NC4as_T4_v3", "1", "T4"),
        ("Standard_NC24ads_A100_v4", "1", "A100"),
        ("Standard_ND96isr_MI300X_v5", "8", "MI300X"),
        ("Standard_NC6s_v3", "1", ""),
        ("Standard_D2s_v5", None, ""),
    ],
)
def test_a_sizes_gpus_are_read_with_the_model_that_its_name_says(name: str, gpus: str | None, model: str) -> None:
    has = {"vCPUs": "4", "MemoryGB": "28", **({"GPUs": gpus} if gpus else {})}
    sku = {"name": name, "capabilities": [{"name": key, "value": value} for key, value in has.items()]}
    size = opened(**PRINCIPAL, **PLACE).size_of(sku)
    assert (size.gpus, size.gpu_model, size.cores, size.memory_gb) == (int(gpus or 0), model, 4, 28)


@pytest.mark.parametrize(
    ("state", "provisioning", "phase", "error"),
    [
        (NodeState.PENDING, "Creating", "building", None),
        (NodeState.UNKNOWN, "Succeeded", "building", None),
        (NodeState.RUNNING, "Succeeded", "running", None),
        (NodeState.UNKNOWN, "Deleting", "deleting", None),
        (NodeState.ERROR, "Failed", "failed", "it could not be provisioned"),
        (NodeState.STOPPED, "Succeeded", "failed", "it is stopped"),
    ],
)
def test_a_state_is_read_as_what_it_means_for_a_user(
    state: Any, provisioning: str, phase: str, error: str | None
) -> None:
    has = {"tags": {}, "properties": {"provisioningState": provisioning, "osProfile": {"computerName": "m1"}}}
    seen = opened(**PRINCIPAL, **PLACE).describe(Node("/x/m1-0", "m1-0", state, [], [], None, extra=has))
    assert (seen.id, seen.name, seen.state, seen.error) == ("m1-0", "m1", phase, error)


def test_wrong_options_are_named() -> None:
    with pytest.raises(BadSettings, match=r"clouds\.az\.options\.client_secret: Field required"):
        opened(**{key: value for key, value in PRINCIPAL.items() if key != "client_secret"}, **PLACE)
