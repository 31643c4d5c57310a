"""Machines outlive the daemon; what it was doing when it was killed, the next one finishes or undoes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.localcloud.machine import birth, children, link_of, starters
from tests.integration.localcloud.daemon import ROOT, Daemon, Machine, MakeDaemon
from tests.waiting import until

pytestmark = pytest.mark.machines


def test_machines_live_on_and_the_next_daemon_finds_them_as_they_were(mortal: Daemon) -> None:
    machines = [mortal.machine(f"m{number}", tags={"number": str(number)}) for number in range(2)]
    mortal.ask("POST", "/v1/volumes", {"name": "v", "owner": 20001})
    place = f"/v1/nodes/{machines[0].id}/volumes"
    mortal.ask("POST", place, {"volume": "v", "path": "/home/v"})
    machines[0].says("echo before > /home/v/file; sleep 600 > /dev/null 2>&1 < /dev/null & echo $! > /root/pid")
    before = {machine.id: mortal.nodes()[machine.id] for machine in machines}
    inits = [machine.init for machine in machines]
    mortal.crash()
    assert machines[0].says("kill -0 $(cat /root/pid) && cat /home/v/file") == "before"
    mortal.start()
    assert mortal.nodes() == before
    assert [machine.init for machine in machines] == inits
    assert mortal.ask("DELETE", "/v1/volumes/v")[0] == 409
    assert mortal.ask("DELETE", f"{place}/v")[0] == 204
    mortal.destroy(*before.values())
    until(lambda: not mortal.leftovers(), "nothing to be left")


# Moments of a build, each true from then on.
MOMENTS: dict[str, Callable[[Daemon, Path], object]] = {
    "folder": lambda cloud, folder: folder.exists(),
    "key": lambda cloud, folder: (folder / "spec.json").exists(),
    "home": lambda cloud, folder: os.path.ismount(folder / "home"),
    "process": lambda cloud, folder: starters(folder),
    "link": lambda cloud, folder: os.path.exists(f"/sys/class/net/{link_of(cloud.bridge, folder.name)}"),
    "init": lambda cloud, folder: any(map(children, starters(folder))),
}


def test_a_daemon_that_is_killed_while_it_builds_is_gone_on_from(mortal: Daemon) -> None:
    made = []
    for name, reached in MOMENTS.items():
        node = mortal.create(name, tags={"moment": name})
        made.append(node)
        folder = mortal.state / "nodes" / node["id"]
        until(lambda reached=reached, folder=folder: reached(mortal, folder), name, every=0.0005)
        mortal.crash()
        mortal.start()
        assert mortal.nodes()[node["id"]]["tags"] == {"moment": name}
    for node in mortal.running(*made):
        assert Machine(mortal, node).says("hostname") == node["name"]
        assert len(starters(mortal.state / "nodes" / node["id"])) == 1
    mortal.destroy(*made)
    until(lambda: not mortal.leftovers(), "nothing to be left")


def test_a_daemon_that_is_killed_while_it_removes_is_gone_on_from(mortal: Daemon) -> None:
    moments: list[Callable[[Daemon, Machine], bool]] = [
        lambda cloud, machine: True,
        lambda cloud, machine: not starters(machine.folder),
        lambda cloud, machine: not os.path.ismount(machine.folder / "home"),
    ]
    for moment in moments:
        machine = mortal.machine()
        assert mortal.ask("DELETE", f"/v1/nodes/{machine.id}")[0] == 202
        until(lambda moment=moment, machine=machine: moment(mortal, machine), "the moment", every=0.0005)
        mortal.crash()
        mortal.start()
        until(lambda id_=machine.id: mortal.state_of(id_) in ("terminated", "gone"), "the node to go")
        until(lambda: not mortal.leftovers(), "nothing to be left")


def test_a_daemon_that_is_killed_before_its_bridge_is_whole_is_gone_on_from(own_cloud: MakeDaemon) -> None:
    cloud = own_cloud()
    subprocess.run(["ip", "link", "add", cloud.bridge, "type", "bridge"], check=True)
    cloud.start()
    assert cloud.machine().says("hostname") == "m"


def test_a_record_that_is_torn_is_removed_and_the_others_stay(mortal: Daemon) -> None:
    whole, torn = mortal.machine("whole"), mortal.machine("torn")
    mortal.crash()
    (torn.folder / "node.json").write_text('{"id": "n-')
    mortal.start()
    assert {whole.id} == mortal.nodes().keys()
    assert whole.says("hostname") == "whole"
    assert not [entry for entry in mortal.leftovers() if torn.id in entry or torn.id[-6:] in entry]


@pytest.mark.parametrize("part", ["init", "starter"])
def test_a_machine_whose_first_process_ends_is_seen_as_broken(mortal: Daemon, part: str) -> None:
    machine = mortal.machine()
    pids = [int(process.name) for process in machine.processes()]
    os.kill(getattr(machine, part), signal.SIGKILL)
    node = until(lambda: mortal.nodes()[machine.id] if mortal.state_of(machine.id) == "error" else None, "the error")
    assert node["error"] == "the machine's first process has ended"
    until(lambda: not any(map(birth, pids)), "all of its processes to end")
    mortal.destroy(node)
    until(lambda: not mortal.leftovers(), "nothing to be left")


def test_a_machine_that_cannot_start_says_why_and_is_removed(mortal: Daemon) -> None:
    node = mortal.create()
    found = until(lambda: starters(mortal.state / "nodes" / node["id"]), "its process", every=0.0005)
    os.kill(max(found), signal.SIGKILL)
    until(lambda: mortal.state_of(node["id"]) == "error", "the error")
    assert mortal.nodes()[node["id"]]["error"]
    mortal.destroy(node)
    until(lambda: not mortal.leftovers(), "nothing to be left")


def test_a_demo_that_ends_in_the_middle_of_a_build_leaves_nothing(own_cloud: MakeDaemon) -> None:
    cloud = own_cloud().start("--while-stdin")
    cloud.running(cloud.create("whole"))
    for number in range(3):
        cloud.create(f"half{number}")
    cloud.process.communicate(timeout=60)  # closes its standard input
    assert cloud.process.returncode == 0, cloud.log.read_text()
    assert not cloud.leftovers()
    assert not os.path.exists(f"/sys/class/net/{cloud.bridge}")


def test_purge_removes_all_that_is_ours_and_nothing_else(
    cloud: Daemon, machine: Machine, own_cloud: MakeDaemon
) -> None:
    doomed = own_cloud().start()
    ours = doomed.machine()
    doomed.ask("POST", "/v1/volumes", {"name": "v", "owner": 20001})
    doomed.ask("POST", f"/v1/nodes/{ours.id}/volumes", {"volume": "v", "path": "/home/v"})
    ours.says("echo kept > /home/v/file")
    doomed.crash()
    purge = [sys.executable, "-m", "agents.localcloud", "purge", "--state", str(doomed.state)]
    for _ in range(2):
        subprocess.run(purge, cwd=ROOT, check=True, timeout=60)
        assert not doomed.leftovers()
    assert not os.path.exists(f"/sys/class/net/{doomed.bridge}")
    assert (doomed.state / "volumes/v/file").read_text() == "kept\n"
    assert cloud.state_of(machine.id) == "running"
    assert machine.says("hostname") == "looked-at"
