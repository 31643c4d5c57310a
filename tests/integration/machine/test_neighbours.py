"""Two machines in one network, in real namespaces, with nothing between them but what the machines themselves have."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator

import pytest

from agents.localcloud import machine
from agents.localcloud.cloud import names
from agents.protocol import RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, SOUND_DOOR, VNC_DOOR
from broker.configuration import ssh
from broker.configuration.ssh import SshTarget
from tests.doors import GATEWAY, MACHINE, signed
from tests.integration.machine.desk import Desk
from tests.integration.machine.lab import Lab

OPEN = {22, RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, SOUND_DOOR, VNC_DOOR}
PORTS = (*OPEN, 3389, 3390, 5901)
HEARD = "timeout 1 openssl s_client -connect {address}:{port} -tls1_3 -quiet -verify_quiet {shown} 2> /dev/null"


class Neighbour:
    """Another machine of the cloud, whose root tries what it can."""

    def __init__(self, lab: Lab, target: SshTarget, victim: str) -> None:
        self._lab, self._target, self._victim = lab, target, victim

    def does(self, script: str) -> str:
        """What root's script prints there."""
        return ssh.run(self._lab.state_dir, self._target, ["sh", "-c", script]).stdout.decode()

    def connects(self) -> set[int]:
        """The victim's ports to which a connection is made."""
        tries = (f"(timeout 0.5 bash -c 'exec 3<>/dev/tcp/{self._victim}/{port}' && echo {port}) &" for port in PORTS)
        return {int(port) for port in self.does(f"{' '.join(tries)} wait").split()}

    def hears(self, shown: tuple[str, str]) -> str:
        """What the victim's VNC door says to who shows this key and certificate."""
        content = base64.b64encode("".join(shown).encode()).decode()
        file = f"umask 077; echo {content} | base64 -d > /root/shown.pem"
        heard = HEARD.format(address=self._victim, port=VNC_DOOR, shown="-cert /root/shown.pem -key /root/shown.pem")
        return self.does(f"{file}; sleep 1 | {heard}")


def record(lab: Lab, target: SshTarget) -> tuple[str, int]:
    """What the cloud calls the machine, and the host's number of its first process."""
    for file in (lab.cloud / "nodes").glob("*/node.json"):
        node = json.loads(file.read_text())
        if node["name"] == target.name and node["state"] == "running":
            return node["id"], node["pid"]
    raise AssertionError(f"no {target.name}")


@pytest.fixture(scope="module")
def desk(light: Desk) -> Desk:
    """The victim, with its session attached."""
    light.attach()
    return light


@pytest.fixture(scope="module")
def neighbour(lab: Lab, desk: Desk) -> Iterator[Neighbour]:
    """Another machine; the cloud's own isolation of both is taken away, as other clouds have none."""
    target = lab.build()
    _, bridge = names(lab.cloud)
    for each in (target, desk.target):
        link = machine.link_of(bridge, record(lab, each)[0])
        for line in (
            ["ip", "link", "set", "dev", link, "type", "bridge_slave", "isolated", "off"],
            ["tc", "qdisc", "del", "dev", link, "clsact"],
        ):
            subprocess.run(line, check=True)
    yield Neighbour(lab, target, desk.target.address)
    lab.destroy(target)


def test_a_neighbour_gets_through_no_firewall_and_without_it_through_no_door(
    lab: Lab, desk: Desk, neighbour: Neighbour
) -> None:
    """Each of both holds alone. What the neighbour has is its own certificate, of the very authority."""
    assert neighbour.connects() == set()
    own = signed(lab.state_dir / "secrets", ["m2"], MACHINE)
    gateways = signed(lab.state_dir / "secrets", ["beamdesk-gateway"], GATEWAY)
    inside = ["nsenter", f"--net=/proc/{record(lab, desk.target)[1]}/ns/net", "nft"]
    rules = subprocess.run([*inside, "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    try:
        subprocess.run([*inside, "flush", "ruleset"], check=True)
        assert neighbour.connects() == OPEN
        assert neighbour.hears(own) == ""
        assert neighbour.hears(gateways).startswith("RFB 003.008"), "the test itself hears nothing"
    finally:
        subprocess.run([*inside, "-f", "-"], input=rules, text=True, check=True)
    assert neighbour.connects() == set()
    assert desk.frame()


def test_a_machines_root_cannot_open_its_firewall(desk: Desk) -> None:
    """Nor whoever configures it: in the local cloud it is the host's."""
    assert "not permitted" in desk.root("nft flush ruleset 2>&1")
    assert desk.root("/usr/local/lib/beamdesk/firewall from 0.0.0.0/0; nft list ruleset 2> /dev/null") == "changed\n"
    desk.root("/usr/local/lib/beamdesk/firewall from")
