"""OpenStack's floating addresses: one for each machine, where the settings name a network that has them.

Nova tells of them late, so Neutron is asked. Each says in its description whose it is; one of ours without one was left
by a machine that went unseen, and is given back.
"""

from __future__ import annotations

from typing import Any

from broker.clouds.faults import status_of


class FloatingAddresses:
    """Those of one network; `whose` is the description of ours."""

    def __init__(self, driver: Any, network_id: str, whose: str) -> None:
        self._driver, self._network, self._whose = driver, network_id, whose

    def by_node(self) -> dict[str, str]:
        """Node's id -> its address; ours that no machine has are given back."""
        found = {}
        for each in self._all():
            if each["port_id"]:
                found[each["port_details"]["device_id"]] = each["floating_ip_address"]
            elif each["description"] == self._whose:
                self._give_back(each["id"])
        return found

    def give(self, node_id: str) -> str | None:
        """The node's new address; None where it has no interface yet, or another one gave it an address meanwhile."""
        ports = self._driver.network_connection.request("/v2.0/ports", params={"device_id": node_id}).object["ports"]
        if not ports:
            return None
        wish = {"floating_network_id": self._network, "port_id": ports[0]["id"], "description": self._whose}
        try:
            made: str = self._ask("POST", data={"floatingip": wish})["floatingip"]["floating_ip_address"]
        except Exception as error:
            if status_of(error) != 409:  # also Neutron's word for a quota that is used up: it is tried again
                raise
            return None
        return made

    def take_back(self, node_id: str) -> None:
        """Give up the address of a node that is to go."""
        for each in self._all():
            if each["port_id"] and each["port_details"]["device_id"] == node_id and each["description"] == self._whose:
                self._give_back(each["id"])

    def _all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", params={"floating_network_id": self._network})["floatingips"]
        return found

    def _give_back(self, id_: str) -> None:
        try:
            self._ask("DELETE", f"/{id_}")
        except Exception as error:
            if status_of(error) != 404:  # the list and the workers look at the same time, and one was quicker
                raise

    def _ask(self, method: str, path: str = "", **more: Any) -> Any:
        return self._driver.network_connection.request(f"/v2.0/floatingips{path}", method=method, **more).object
