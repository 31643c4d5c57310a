"""Machines that dial out: the end of each one's tunnel, an address on our side at which it is reached.

An end belongs to one machine, from its build to its deletion. With the host key that its cloud tells us the machine may
dial in, and with no other; the tunnels' sshd (broker/gateways/tunnels.py) reads here who may.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import IPv4Network

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from agents.protocol import TUNNELLED_SSH_PORT
from broker.clouds import dialling
from broker.clouds.adapter import CloudNode, Dial
from broker.configuration import ca
from broker.database import hold, now
from broker.errors import CloudFull
from broker.pools.models import Machine, MachineState, TunnelEnd
from broker.runtime import Runtime
from broker.settings import CloudSettings, Settings

M = MachineState
PATIENCE = 2.0  # seconds for a machine's SSH to say that it is there
LONE = timedelta(hours=4)  # for which a machine of no pool has its end, where nobody gives it back


@dataclass(frozen=True)
class End:
    """A machine that may dial in, with this key, to be reached at this address."""

    address: str
    host_key: str


def living(db: Session) -> Sequence[End]:
    """Who may dial in now: nobody whose host key its cloud has not told, or who is being deleted."""
    rows = db.execute(
        select(TunnelEnd.address, TunnelEnd.host_key)
        .outerjoin(Machine, Machine.id == TunnelEnd.machine_id)
        .where(TunnelEnd.host_key.is_not(None), ~_over())
        .order_by(TunnelEnd.address)
    )
    return [End(address, " ".join(host_key.split()[:2])) for address, host_key in rows if host_key]


def _over() -> ColumnElement[bool]:
    deleted = Machine.id.is_not(None) & Machine.state.in_((M.DELETING, M.DELETED))
    return or_(deleted, TunnelEnd.until.is_not(None) & (TunnelEnd.until <= now()))


def dial_of(db: Session, settings: Settings, machine: Machine) -> Dial:
    """What a machine is told that is to be built; asked again, it is the same."""
    known = db.scalar(select(TunnelEnd.address).where(TunnelEnd.machine_id == machine.id))
    return _dial(settings, known or _new_end(db, settings, machine_id=machine.id))


def _dial(settings: Settings, address: str) -> Dial:
    authorities = ca.trusted(settings.secrets_dir).hosts
    return dialling.dial(settings.tunnels_address, settings.ssh_account, ca.GATEWAY, authorities, address)


def _new_end(db: Session, settings: Settings, **whose: object) -> str:
    """An address that nobody has; those of the network come round, so that nobody had it lately either."""
    hold(db, "tunnels")
    over = select(TunnelEnd.address).outerjoin(Machine, Machine.id == TunnelEnd.machine_id).where(_over())
    db.execute(delete(TunnelEnd).where(TunnelEnd.address.in_(over)).execution_options(synchronize_session=False))
    network, taken = IPv4Network(settings.tunnels.network), set(db.scalars(select(TunnelEnd.address)))
    address = first_free(network, taken, int(str(whose.get("machine_id") or secrets.randbelow(1 << 20))))
    if address is None:
        raise CloudFull(
            f"No address of tunnels.network = {network} is free.", hint="Give tunnels.network a larger one."
        )
    db.add(TunnelEnd(address=address, **whose))
    db.flush()
    return address


def first_free(network: IPv4Network, taken: set[str], number: int) -> str | None:
    """The network's address of this number, or the next one that nobody has; None where all are taken."""
    room = network.num_addresses - 2
    addresses = (str(network[1 + (number + step) % room]) for step in range(room))
    return next((address for address in addresses if address not in taken), None)


def arrived(runtime: Runtime, machine_id: int | None, node: CloudNode) -> CloudNode:
    """The running node as we reach it: one that dials out has no address before it has."""
    with runtime.database.reading() as db:
        address = db.scalar(select(TunnelEnd.address).where(TunnelEnd.machine_id == machine_id))
    return node if address is None else _at_its_end(runtime, address, node)


def _at_its_end(runtime: Runtime, address: str, node: CloudNode) -> CloudNode:
    if node.host_key is None:
        return node
    with runtime.database.reading() as db:
        known = db.get_one(TunnelEnd, address).host_key
    if known != node.host_key:
        with runtime.database.transaction() as db:
            db.get_one(TunnelEnd, address).host_key = node.host_key
    if answers(address):
        return replace(node, address=address, ssh_port=TUNNELLED_SSH_PORT)
    return replace(node, address=None, error=f"it runs, and has not dialled {runtime.settings.tunnels_address}")


def answers(address: str) -> bool:
    """Whether SSH of the machine answers that has dialled in to this end."""
    return dialling.says_ssh(address, TUNNELLED_SSH_PORT, timeout=PATIENCE)


class LoneTunnel:
    """The tunnel of a machine of no pool."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        with runtime.database.transaction() as db:
            self._address = _new_end(db, runtime.settings, until=now() + LONE)
        self.dial = _dial(runtime.settings, self._address)

    def arrived(self, node: CloudNode) -> CloudNode:
        """The node, its host key known, as we reach it; without an address before it has dialled in."""
        return _at_its_end(self._runtime, self._address, node)

    def give_back(self) -> None:
        """Nobody may dial in to this end any more."""
        with self._runtime.database.transaction() as db:
            db.execute(delete(TunnelEnd).where(TunnelEnd.address == self._address))


def for_lone(runtime: Runtime, cloud: CloudSettings) -> LoneTunnel | None:
    """What a machine of no pool needs in this cloud."""
    return LoneTunnel(runtime) if cloud.reach == "tunnel" else None
