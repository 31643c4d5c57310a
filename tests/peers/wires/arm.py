"""The recorded wire of Azure's Resource Manager: what broker/clouds/azure.py asks of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from libcloud.common.azure_arm import AzureResourceManagementConnection

from tests.peers.wires import CONSOLE, Answer, Asked, connection_to, serving

SUBSCRIPTION = "99999999-9999-9999-9999-999999999999"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/desktops/providers"
SUBNET = f"{GROUP}/Microsoft.Network/virtualNetworks/lan/subnets/machines"
SECRET = "right"
CORES, NODES = 20, 10  # the limits of the subscription
PAGE = 2
SIZES = {
    "Standard_B1s": ("1", "1", None),
    "Standard_D8s_v5": ("8", "32", None),
    "Standard_NC4as_T4_v3": ("4", "28", "1"),
}


class Arm:
    """One subscription with one resource group. Machines take a look to be made, and one to go."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Any]] = {}
        self.interfaces: dict[str, dict[str, Any]] = {}
        self.disks: dict[str, str] = {}
        self._numbers = iter(range(4, 10_000))

    def answer(self, asked: Asked) -> Answer:
        """As the Resource Manager answers."""
        if asked.path.endswith("/oauth2/token"):
            return _token(asked)
        if asked.path == "/console":
            return 200, CONSOLE.encode()
        if asked.headers.get("Authorization") != "Bearer token":
            return _error(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if "api-version" not in asked.query:
            return _error(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        path = asked.path.replace("DESKTOPS", "desktops")
        head, _, name = path.partition(f"{GROUP}/Microsoft.Compute/virtualMachines/")
        return self._listed(asked) if head or not name else self._machine(asked, name)

    def _machine(self, asked: Asked, path: str) -> Answer:
        name, _, deed = path.partition("/")
        if asked.method == "PUT":
            return self._put(name, asked.json)
        known = self.machines.get(name)
        if asked.method == "DELETE":
            if known is None:
                return 204, None
            known["properties"]["provisioningState"] = "Deleting"
            return 202, None
        if known is None:
            return _error(
                404, "ResourceNotFound", f"The Resource 'Microsoft.Compute/virtualMachines/{name}' was not found."
            )
        if deed == "InstanceView":
            return 200, {"statuses": _statuses(known)}
        if deed == "retrieveBootDiagnosticsData":
            return 200, {"serialConsoleLogBlobUri": "https://here.blob.core.windows.net/console?sig=x"}
        seen = dict(known)
        self._go_on(name)
        return 200, seen

    def _go_on(self, name: str) -> None:
        """What Azure does meanwhile, one step at each look."""
        state = self.machines[name]["properties"]["provisioningState"]
        if state == "Creating":
            self.machines[name]["properties"]["provisioningState"] = "Succeeded"
        elif state == "Deleting":
            gone = self.machines.pop(name)["properties"]
            for interface in gone["networkProfile"]["networkInterfaces"]:
                if interface["properties"].get("deleteOption") == "Delete":
                    del self.interfaces[interface["id"]]
            if gone["storageProfile"]["osDisk"].get("deleteOption") == "Delete":
                del self.disks[name]

    def _put(self, name: str, wish: dict[str, Any]) -> Answer:
        refusal = self._refusal(name, wish)
        if refusal is not None:
            return refusal
        properties = wish["properties"]
        base64.b64decode(properties["osProfile"].pop("customData"), validate=True)  # it is never shown again
        [interface] = properties["networkProfile"].pop("networkInterfaceConfigurations")
        where = f"{GROUP}/Microsoft.Network/networkInterfaces/{interface['name']}"
        address = {"privateIPAddress": f"10.0.0.{next(self._numbers)}", "privateIPAllocationMethod": "Dynamic"}
        self.interfaces[where] = {
            "id": where,
            "name": interface["name"],
            "properties": {"ipConfigurations": [{"name": "address", "properties": address}]},
        }
        properties["networkProfile"]["networkInterfaces"] = [{"id": where, "properties": interface["properties"]}]
        self.disks[name] = properties["storageProfile"]["osDisk"]["managedDisk"]["storageAccountType"]
        group = GROUP.replace("desktops", "DESKTOPS")  # Azure writes a group's name in any case
        id_ = f"{group}/Microsoft.Compute/virtualMachines/{name}"
        properties["provisioningState"] = "Creating"
        self.machines[name] = {**wish, "id": id_, "name": name, "type": "Microsoft.Compute/virtualMachines"}
        return 201, self.machines[name]

    def _refusal(self, name: str, wish: dict[str, Any]) -> Answer | None:
        size = wish["properties"]["hardwareProfile"]["vmSize"]
        image = wish["properties"]["storageProfile"]["imageReference"]
        if name in self.machines:
            return _error(409, "PropertyChangeNotAllowed", "Changing property 'osProfile' is not allowed.")
        if size not in SIZES:
            return _error(400, "InvalidParameter", f"The value {size} provided for the VM size is not valid.")
        if "id" in image and image["id"] != IMAGE["id"]:
            return _error(404, "ResourceNotFound", f"The Resource '{image['id']}' was not found.")
        if self._cores() + int(SIZES[size][0]) > CORES:
            return _error(
                409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved "
                f"Total Regional Cores quota. Current Limit: {CORES}."
            )  # fmt: skip
        return None

    def _cores(self) -> int:
        return sum(int(SIZES[one["properties"]["hardwareProfile"]["vmSize"]][0]) for one in self.machines.values())

    def _listed(self, asked: Asked) -> Answer:
        kind = asked.path.rpartition("/")[2]
        if asked.path == IMAGE["id"]:
            return 200, IMAGE
        if asked.path in self.interfaces:
            return 200, self.interfaces[asked.path]
        if kind == "versions":
            return 200, [{"name": "12.20261101", "id": f"{asked.path}/12.20261101"}]
        lists: dict[str, Any] = {
            "virtualMachines": lambda: list(self.machines.values()),
            "networkInterfaces": lambda: list(self.interfaces.values()),
            "images": lambda: [IMAGE],
            "skus": lambda: [_sku(name, *has) for name, has in SIZES.items()] + [BARRED],
            "usages": lambda: [
                _usage("cores", self._cores(), CORES),
                _usage("virtualMachines", len(self.machines), NODES),
            ],
        }
        if kind not in lists:
            return _error(404, "ResourceNotFound", f"{asked.path} was not found.")
        all_ = lists[kind]()
        begin = int(asked.query.get("$skiptoken", 0))
        page: dict[str, Any] = {"value": [dict(each) for each in all_[begin : begin + PAGE]]}
        if begin + PAGE < len(all_):
            page["nextLink"] = (
                f"https://management.azure.com{asked.path}"
                f"?api-version={asked.query['api-version']}&$skiptoken={begin + PAGE}"
            )
        if kind == "virtualMachines" and "nextLink" not in page:
            for name in list(self.machines):
                self._go_on(name)
        return 200, page


IMAGE = {"id": f"{GROUP}/Microsoft.Compute/images/desktop-1", "name": "desktop-1", "location": "uksouth"}
BARRED = {
    "resourceType": "virtualMachines",
    "name": "Standard_M208",
    "capabilities": [],
    "restrictions": [{"type": "Location", "reasonCode": "NotAvailableForSubscription"}],
}


def _token(asked: Asked) -> Answer:
    if f"client_secret={SECRET}".encode() not in asked.body.split(b"&"):
        return 401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    return 200, {"token_type": "Bearer", "expires_on": "99999999999", "access_token": "token"}


def _error(status: int, code: str, message: str) -> Answer:
    return status, {"error": {"code": code, "message": message}}


def _statuses(machine: dict[str, Any]) -> list[dict[str, str]]:
    state = machine["properties"]["provisioningState"].lower()
    return [{"code": f"ProvisioningState/{state}"}, {"code": "PowerState/running"}]


def _sku(name: str, cores: str, memory: str, gpus: str | None) -> dict[str, Any]:
    has = {"vCPUs": cores, "MemoryGB": memory, "MaxResourceVolumeMB": "4096", **({"GPUs": gpus} if gpus else {})}
    capabilities = [{"name": key, "value": value} for key, value in has.items()]
    return {"resourceType": "virtualMachines", "name": name, "capabilities": capabilities, "restrictions": []}


def _usage(name: str, current: int, limit: int) -> dict[str, Any]:
    return {"unit": "Count", "currentValue": current, "limit": limit, "name": {"value": name, "localizedValue": name}}


@contextmanager
def arm() -> Iterator[Arm]:
    """The wire; for as long, Libcloud's driver of Azure speaks to it."""
    wire = Arm()
    with (
        serving(wire.answer) as port,
        patch.object(AzureResourceManagementConnection, "conn_class", connection_to(port)),
    ):
        yield wire
