"""A machine that nobody can reach, and dials out: the promises that every machine keeps, through its tunnel; what the
tunnel is good for, and what it is not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from cryptography.hazmat.primitives.serialization.ssh import SSHCertPublicKeyTypes
from PIL import Image

from agents.protocol import SOUND_DOOR, SSH_PORT, TUNNELLED_SSH_PORT, VNC_DOOR
from broker.clouds.adapter import open_cloud
from broker.clouds.check import check
from broker.clouds.dialling import ENDS
from broker.configuration import ca, doors, keyring
from broker.configuration.ssh import run as command
from broker.errors import MachineUnreachable
from broker.gateways import dialled_in
from broker.gateways.dialled_in import Dialled
from broker.pools import renewal, tunnels
from broker.pools.access import target
from broker.pools.models import Machine, MachineState
from broker.pools.probe import probe
from broker.rotation.rings import KEYS
from broker.sessions import files
from tests.integration.gateways.ssh_lab import Visitor
from tests.integration.gateways.test_rdp_clients import client
from tests.integration.gateways.wire import Closed
from tests.integration.machine.desk import Desk
from tests.integration.machine.lab import Lab
from tests.integration.machine.tunnel_lab import HOST, Deployment, deployment
from tests.screens import colours
from tests.ssh import new_key
from tests.waiting import until


@pytest.fixture(scope="module")
def nat(lab: Lab, redis_url: str) -> Iterator[Deployment]:
    """The deployment that these tests share."""
    with deployment(lab, redis_url) as made:
        yield made


@pytest.fixture(scope="module")
def machine(nat: Deployment) -> Machine:
    """Its one machine, as the manager and a worker made it: configured and probed."""
    nat.build()
    return nat.configure()


@pytest.fixture(scope="module")
def alice(nat: Deployment, machine: Machine) -> Visitor:
    """Whose session has it."""
    return nat.launch()


def run(nat: Deployment, machine: Machine, script: str) -> str:
    """What a script prints that root runs on the machine."""
    return command(nat.folder, target(machine), ["sh", "-c", script]).stdout.decode()


@pytest.fixture(scope="module")
def key(nat: Deployment, machine: Machine) -> Path:
    """The machine's own, as its root could take it elsewhere."""
    path = nat.folder / "taken"
    path.touch(mode=0o600)
    path.write_text(run(nat, machine, "cat /etc/ssh/ssh_host_ed25519_key"))
    return path


def dialled(nat: Deployment, key: Path, *words: str, account: str = "") -> subprocess.CompletedProcess[str]:
    """What becomes of somebody who dials with this key."""
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes")
    line = ["ssh", "-F", "none", "-i", str(key), "-p", str(nat.ports["tunnels"]), "-l", account or nat.account]
    line += [word for option in (*options, "IdentitiesOnly=yes") for word in ("-o", option)]
    return subprocess.run([*line, "127.0.0.1", *words], capture_output=True, text=True, timeout=20, input="")


def connections(nat: Deployment) -> list[Dialled]:
    """Those that the tunnels' sshd has."""
    return dialled_in.connections(nat.ports["tunnels"])


def holders(nat: Deployment) -> frozenset[int]:
    """The processes of ours that hold a machine's tunnel."""
    return frozenset(pid for each in connections(nat) if each.ends for pid in each.pids)


def painted(alice: Visitor) -> bool:
    """Whether a browser that comes now sees the desktop."""
    viewer = alice()
    try:
        return len(set(viewer.greet().frame())) > 8
    except (Closed, OSError):
        return False
    finally:
        viewer.socket.close()


def answers(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), 0.3):
        return True
    return False


def is_up(machine: Machine) -> bool:
    return tunnels.answers(machine.address or "")


def wait_for_another(nat: Deployment, machine: Machine, before: frozenset[int]) -> None:
    """Until it has dialled again."""
    until(lambda: holders(nat) and not holders(nat) & before and is_up(machine), "the machine to dial again")


def kill(pids: frozenset[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # the other half of a pair that is dead
            os.kill(pid, signal.SIGKILL)


def test_it_is_made_ready_though_nobody_reaches_it(nat: Deployment, machine: Machine) -> None:
    """By the same roles, doors and probe; what its cloud calls its address leads nowhere."""
    assert machine.state == MachineState.VACANT, machine.failure
    node = open_cloud(nat.runtime.settings.clouds["nat"]).find(machine.node_id or "")
    assert node is not None
    assert node.address is not None
    assert node.address.startswith("10.231.32.")
    assert not any(answers(node.address, port) for port in (SSH_PORT, VNC_DOOR))
    assert all(answers(machine.address or "", port) for port in ENDS)
    with Image.open(probe(nat.runtime, machine)) as picture:
        assert colours(picture.convert("RGB")) > 100


def test_every_door_leads_to_its_desktop(nat: Deployment, machine: Machine, alice: Visitor, tmp_path: Path) -> None:
    """The browser's and its sound, SSH's with copies both ways, Remote Desktop's with a client that asks nothing."""
    assert painted(alice)
    place = (nat.machine(machine.id).name, machine.address or "", SOUND_DOOR)
    with doors.reach(nat.folder, *place, timeout=20) as sound:
        assert sound.recv(4) == b"OggS"
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(3_000_000))
    file = alice.file()
    for words in ([str(sent), "desktop:by-scp"], ["desktop:by-scp", str(back)]):
        subprocess.run(["scp", "-q", "-F", str(file), *words], check=True, timeout=30)
    assert back.read_bytes() == sent.read_bytes()
    rdp = tmp_path / "session.rdp"
    rdp.write_text(files.rdp(nat.runtime, alice.person, alice.session_id), newline="")
    with client(rdp, "/cert:ignore") as (process, screen):
        until(lambda: colours(screen.picture()) > 100, "the desktop in the client", 30)
        assert process.poll() is None


def test_its_key_is_good_for_its_own_end_and_nothing_else(nat: Deployment, machine: Machine, key: Path) -> None:
    """Not for a shell, files, or a way to us and what is near us (-L, -D and -W ask for the same); not for another
    machine's address, or another port; and another key is good for nothing."""
    own = machine.address or ""
    other = own.rpartition(".")[0] + ".200"
    stranger = nat.folder / "stranger"
    new_key(stranger)
    denied, failed, closed = "Permission denied", "remote port forwarding failed", "open failed"
    cases = {
        (key, "id"): closed,
        (key, "-tt", "sh"): closed,
        (key, "-s", "sftp"): closed,
        (key, "-W", f"127.0.0.1:{nat.ports['browser']}"): "administratively prohibited",
        (key, "-W", f"{own}:{VNC_DOOR}"): "administratively prohibited",
        (key, "-N", "-R", f"{other}:{VNC_DOOR}:127.0.0.1:1"): failed,
        (key, "-N", "-R", f"{own}:8080:127.0.0.1:1"): failed,
        (key, "-N", "-R", f"0.0.0.0:{VNC_DOOR}:127.0.0.1:1"): failed,
        (key, "-N", "-R", f"{TUNNELLED_SSH_PORT}:127.0.0.1:1"): failed,
        (key, "-N", "-R", f"{nat.folder}/socket:127.0.0.1:1"): failed,
        (stranger, "-N", "-R", f"{own}:{VNC_DOOR}:127.0.0.1:1"): denied,
    }
    with ThreadPoolExecutor(3) as together:
        done = list(together.map(lambda case: dialled(nat, *case), cases))
    said = {case[1:]: answer.stderr for case, answer in zip(cases, done, strict=True)}
    assert [words for words, expected in zip(said, cases.values(), strict=True) if expected not in said[words]] == []
    assert all(answer.returncode for answer in done)
    assert denied in dialled(nat, key, "-N", account="nobody").stderr
    assert is_up(machine)


def test_who_works_on_it_has_neither_its_key_nor_its_way(nat: Deployment, machine: Machine, alice: Visitor) -> None:
    """And what it may begin itself is the one connection to the tunnels."""
    desk = Desk(nat.folder, target(machine))
    assert desk.user("cat /etc/ssh/ssh_host_ed25519_key || id -un") == "alice\n"
    ports = [22, *(nat.ports[part] for part in ("browser", "ssh", "tunnels"))]
    tries = (f"timeout 0.5 bash -c ': > /dev/tcp/{HOST}/{port}' && echo {port} &" for port in ports)
    assert desk.user(" ".join((*tries, "wait"))).split() == [str(nat.ports["tunnels"])]


def test_a_tunnel_that_is_cut_is_dialled_anew_and_the_desktop_is_there_again(
    nat: Deployment, machine: Machine, alice: Visitor
) -> None:
    """The machine's ssh is killed: an open viewer ends, and the next one sees the same desktop."""
    viewer, before = alice(), holders(nat)
    viewer.greet().frame()
    with suppress(MachineUnreachable):
        run(nat, machine, "pkill -KILL -f '^ssh -F /etc/beamdesk/tunnel'")
    viewer.end()
    wait_for_another(nat, machine, before)
    assert painted(alice)


def test_a_line_that_is_cut_in_silence_is_noticed_and_dialled_anew(
    nat: Deployment, machine: Machine, alice: Visitor, lab: Lab
) -> None:
    """On our side, too, though a viewer goes on sending into it: else the old connection would keep the address."""
    cable = lab.cable(machine.node_id or "")
    viewer, before = alice(), holders(nat)
    viewer.greet().frame()
    subprocess.run(["ip", "link", "set", cable, "down"], check=True)
    try:
        until(lambda: viewer.pointer(7, 7) or not holders(nat), "our side to give it up")
    finally:
        subprocess.run(["ip", "link", "set", cable, "up"], check=True)
    viewer.end()
    wait_for_another(nat, machine, before)
    assert painted(alice)


def test_the_gateway_may_be_killed_and_what_is_open_goes_on(nat: Deployment, machine: Machine, alice: Visitor) -> None:
    """Its sshd ends with it and another one listens; nobody has to dial again."""
    viewer, before = alice(), holders(nat)
    viewer.greet().frame()
    nat.parts["tunnels"].end(signal.SIGKILL)
    until(lambda: not answers("127.0.0.1", nat.ports["tunnels"]), "its sshd to end")
    nat.start("tunnels")
    assert holders(nat) == before
    assert viewer.is_alive()
    viewer.socket.close()


def test_a_flood_of_strangers_keeps_no_machine_out(nat: Deployment, machine: Machine) -> None:
    """From one address few of them are heard at a time; of all, those that came last."""
    with ExitStack() as stack:
        for number in range(120):
            stranger = (f"127.0.0.{2 + number // 20}", 0)
            made = socket.create_connection(("127.0.0.1", nat.ports["tunnels"]), 5, stranger)
            stack.enter_context(made)
            if number == 19:
                until(lambda: len(connections(nat)) >= 15, "those of the first address")
                assert len(connections(nat)) <= 16
        assert len(connections(nat)) <= 42
        before = holders(nat)
        kill(before)
        wait_for_another(nat, machine, before)


def signer(nat: Deployment) -> SSHCertPublicKeyTypes:
    """Who signed the certificate that the tunnels' sshd shows."""
    line = ["ssh-keyscan", "-c", "-t", "ed25519", "-p", str(nat.ports["tunnels"]), "127.0.0.1"]
    shown = subprocess.run(line, capture_output=True, check=True).stdout
    found = load_ssh_public_identity(shown)
    assert isinstance(found, SSHCertificate)
    return found.signature_key()


def test_the_hosts_authority_is_replaced_and_it_dials_again(nat: Deployment, machine: Machine) -> None:
    """A machine is told whom to believe before that signs: so it comes back whenever it is cut off."""
    secrets = nat.runtime.settings.secrets_dir
    old = signer(nat)
    keyring.begin(secrets, "host_ca")
    with nat.runtime.database.reading() as db:
        assert machine.id in [each.id for each in renewal.behind(db, secrets)]
        assert "1 machines to be told" in KEYS["host_ca"].waits_for(db, secrets)
    assert renewal.renew(nat.runtime, machine)
    keyring.switch(secrets, "host_ca")
    until(lambda: signer(nat) != old, "sshd to show its new certificate")
    before = holders(nat)
    kill(before)
    wait_for_another(nat, machine, before)
    keyring.forget(secrets, "host_ca")
    assert renewal.renew(nat.runtime, machine)
    assert run(nat, machine, "cat /etc/beamdesk/tunnel/known_hosts").count("@cert-authority") == 1


def test_a_check_of_the_cloud_has_one_machine_dial_in(nat: Deployment) -> None:
    """And says where they dial, and that somebody answers there."""
    settings = nat.runtime.settings
    tunnel = tunnels.for_lone(nat.runtime, settings.clouds["nat"])
    found = {each.step: each for each in check(settings, "nat", ca.trusted(settings.secrets_dir).users, tunnel=tunnel)}
    assert all(each.good for each in found.values()), found
    assert found["tunnels"].said == f"machines dial {settings.tunnels_address}, and sshd answers there"
    assert found["network"].said.startswith(nat.network.rpartition(".")[0])
    with nat.runtime.database.reading() as db:
        assert len(tunnels.living(db)) == 1


def test_with_its_machine_the_tunnel_ends_and_its_key_opens_nothing(
    nat: Deployment, machine: Machine, alice: Visitor, key: Path
) -> None:
    """At once, as soon as it is to be deleted: also a second connection that asked for nothing yet."""
    own = f"{machine.address}:{VNC_DOOR}:127.0.0.1:1"
    with ThreadPoolExecutor(1) as together:
        idle = together.submit(dialled, nat, key, "-N")
        until(lambda: len(connections(nat)) == 2, "the second connection")
        nat.end(alice)
        assert nat.machine(machine.id).state == MachineState.DELETING
        assert idle.result(10).returncode
    until(lambda: not connections(nat), "its connections to be closed", 5)
    assert "Permission denied" in dialled(nat, key, "-N", "-R", own).stderr
    assert not answers(machine.address or "", TUNNELLED_SSH_PORT)
