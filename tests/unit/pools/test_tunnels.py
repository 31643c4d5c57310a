"""Ends of tunnels: whose they are, and for how long; and a machine that never dials."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clouds.adapter import MACHINE, BuildSpec, CloudNode, Room
from broker.database import now
from broker.errors import CloudFull
from broker.pools import jobs, tunnels, watch
from broker.pools.manager import PoolManager
from broker.pools.models import Machine, MachineState, TunnelEnd, move
from broker.runtime import Runtime
from broker.settings import TunnelSettings
from tests.waiting import until

M = MachineState
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHdVgXQnBrGjFNzWcGeJ2dTBMyKVfwPYzp1PcDfBz5bA"


@pytest.fixture
def nat(runtime: Runtime) -> Runtime:
    """A deployment of which no cloud's machines can be reached."""
    clouds = {name: each.model_copy(update={"reach": "tunnel"}) for name, each in runtime.settings.clouds.items()}
    ends = TunnelSettings(network="127.80.9.0/28", public_address="desks.example:2200")
    runtime.settings = runtime.settings.model_copy(update={"clouds": clouds, "tunnels": ends})
    return runtime


def machine(runtime: Runtime, state: MachineState = M.REQUESTED) -> Machine:
    with runtime.database.transaction() as db:
        made = Machine(pool="light-ral", environment="light", size="small", cloud="ral", state=state)
        db.add(made)
    return made


def end_of(runtime: Runtime, made: Machine) -> str:
    """The address at which the machine is told that we listen."""
    with runtime.database.transaction() as db:
        text = "".join(tunnels.dial_of(db, runtime.settings, made).files.values())
        db.flush()
        return text.partition("RemoteForward ")[2].partition(":")[0]


@given(st.sets(st.integers(1, 14)), st.integers(0, 2**31))
def test_an_address_is_of_the_network_and_nobodys_else(taken: set[int], number: int) -> None:
    """Neither the network's own nor its last one."""
    network = IPv4Network("127.80.9.0/28")
    found = tunnels.first_free(network, {str(network[each]) for each in taken}, number)
    assert (found is None) == (len(taken) == 14)
    assert found is None or found in {str(network[each]) for each in set(range(1, 15)) - taken}


def test_an_end_is_one_machines_and_no_other_key_opens_it(nat: Runtime) -> None:
    """Told again, it is the same; its key is let in when its cloud has told it, and not after its deletion began."""
    one, other = machine(nat), machine(nat)
    assert end_of(nat, one) == end_of(nat, one) != end_of(nat, other)
    node = CloudNode("n-1", "n", "running", "10.0.0.7", None, {MACHINE: str(one.id)})
    with nat.database.reading() as db:
        assert tunnels.living(db) == []
    assert tunnels.arrived(nat, one.id, node) == node
    gone = tunnels.arrived(nat, one.id, CloudNode("n-1", "n", "running", "10.0.0.7", f"{KEY} root@n", node.tags))
    assert (gone.address, gone.error) == (None, "it runs, and has not dialled desks.example:2200")
    with nat.database.reading() as db:
        assert tunnels.living(db) == [tunnels.End(end_of(nat, one), KEY)]
    with nat.database.transaction() as db:
        move(db, db.get_one(Machine, one.id), M.DELETING, reason="a test")
    with nat.database.reading() as db:
        assert tunnels.living(db) == []


def test_addresses_come_round_and_those_of_deleted_machines_are_given_again(nat: Runtime) -> None:
    """Where all are in use, the cloud counts as full, and says which setting to change."""
    made = [machine(nat) for _ in range(14)]
    assert len({end_of(nat, each) for each in made}) == 14
    late = machine(nat)
    with pytest.raises(CloudFull, match=r"No address of tunnels.network = 127.80.9.0/28 is free"):
        end_of(nat, late)
    freed = end_of(nat, made[5])
    with nat.database.transaction() as db:
        move(db, db.get_one(Machine, made[5].id), M.DELETING, reason="a test")
    assert end_of(nat, late) == freed


def test_a_machine_of_no_pool_has_its_end_for_some_hours_at_most(nat: Runtime) -> None:
    """Whoever made it may have died."""
    tunnel = tunnels.for_lone(nat, nat.settings.clouds["ral"])
    assert tunnel is not None
    node = CloudNode("n-1", "n", "running", None, KEY, {})
    assert tunnel.arrived(node).address is None
    with nat.database.transaction() as db:
        assert [end.host_key for end in tunnels.living(db)] == [KEY]
        for row in db.query(TunnelEnd):
            row.until = now()
    with nat.database.reading() as db:
        assert tunnels.living(db) == []
    tunnel.give_back()
    with nat.database.reading() as db:
        assert db.query(TunnelEnd).count() == 0


@dataclass
class FakeCloud:
    """Has what was built, running, with a key."""

    nodes: list[CloudNode] = field(default_factory=list)
    told: list[BuildSpec] = field(default_factory=list)

    def build(self, spec: BuildSpec) -> CloudNode:
        self.told.append(spec)
        self.nodes.append(CloudNode("n-1", spec.name, "running", "10.0.0.7", KEY, spec.tags))
        return self.nodes[-1]

    def list_ours(self, deployment: str) -> list[CloudNode]:
        return self.nodes

    def room(self) -> Room:
        return Room()


def test_a_machine_that_never_dials_fails_when_one_without_an_address_does(
    nat: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so."""
    cloud, made = FakeCloud(), machine(nat)
    monkeypatch.setattr(jobs, "current", lambda: nat)
    monkeypatch.setattr(jobs, "cloud_of", lambda *_: cloud)
    monkeypatch.setattr(watch, "open_cloud", lambda _: cloud)
    jobs.build_machine(made.id, made.attempt)
    dialled = cloud.told[0].dial
    assert dialled is not None
    assert dialled.to == "desks.example:2200"
    times = nat.settings.times.model_copy(update={"build_timeout": 0.0})
    nat.settings = nat.settings.model_copy(update={"times": times, "pools": {}})
    manager = PoolManager(nat)

    def failure() -> str | None:
        manager._inventory.take(manager._standings())
        with nat.database.reading() as db:
            return db.get_one(Machine, made.id).failure

    assert until(failure, "it to fail") == "it runs, and has not dialled desks.example:2200 0 s after it was asked for"
