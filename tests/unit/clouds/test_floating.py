"""Floating addresses that two look at the same time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from libcloud.common.exceptions import BaseHTTPError

from broker.clouds.floating import FloatingAddresses

OURS = "beamdesk-cloud=stfc"


class FakeNeutron:
    """Has these addresses, and answers a deletion with this status."""

    def __init__(self, status: int, *addresses: dict[str, Any]) -> None:
        self.status, self.addresses, self.deleted = status, addresses, list[str]()

    def request(self, path: str, method: str, **_: Any) -> Any:
        if method == "DELETE":
            self.deleted.append(path.rpartition("/")[2])
            if self.status != 204:
                raise BaseHTTPError(self.status, "Floating IP could not be found.")
        return SimpleNamespace(object={"floatingips": list(self.addresses)})


def address(id_: str, node: str | None, description: str = OURS) -> dict[str, Any]:
    known = {"id": id_, "description": description, "floating_ip_address": "203.0.113.9", "port_id": node and "p"}
    return {**known, "port_details": node and {"device_id": node}}


def addresses(neutron: FakeNeutron) -> FloatingAddresses:
    return FloatingAddresses(SimpleNamespace(network_connection=neutron), "public", OURS)


def test_an_address_that_somebody_else_has_just_given_back_is_no_error() -> None:
    """It would make the whole list fail, or a machine that is there seem gone."""
    neutron = FakeNeutron(404, address("left", None), address("in-use", "n1"), address("theirs", None, "theirs"))
    assert addresses(neutron).by_node() == {"n1": "203.0.113.9"}
    assert neutron.deleted == ["left"]
    addresses(neutron).take_back("n1")
    assert neutron.deleted == ["left", "in-use"]


def test_a_neutron_that_fails_is_an_error() -> None:
    with pytest.raises(BaseHTTPError):
        addresses(FakeNeutron(500, address("left", None))).by_node()
