"""Machines and pools, their states, and the only writer of a machine's state."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, String, Text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from agents.protocol import SSH_PORT
from broker import events
from broker.database import Base, now
from broker.errors import WrongState


class MachineState(StrEnum):
    """Where a machine is in its life."""

    REQUESTED = "requested"  # a row only: the cloud is still to be asked
    BUILDING = "building"  # the cloud was asked
    PROVISIONED = "provisioned"  # runs, not yet configured
    CONFIGURING = "configuring"  # Ansible and the first probe are at work
    VACANT = "vacant"  # configured and probed, waits in its pool; a base's may be configured again, for an environment
    ACQUIRED = "acquired"  # given to one session, once and for ever
    FAILED = "failed"  # quarantined with its evidence until it is removed
    DELETING = "deleting"  # the cloud was asked to remove it
    DELETED = "deleted"  # gone from the cloud; the row stays for audit


M = MachineState
MOVES: dict[MachineState, frozenset[MachineState]] = {
    M.REQUESTED: frozenset({M.BUILDING, M.FAILED, M.DELETING}),
    M.BUILDING: frozenset({M.PROVISIONED, M.FAILED, M.DELETING}),
    M.PROVISIONED: frozenset({M.CONFIGURING, M.FAILED, M.DELETING}),
    M.CONFIGURING: frozenset({M.VACANT, M.FAILED, M.DELETING}),
    M.VACANT: frozenset({M.ACQUIRED, M.CONFIGURING, M.FAILED, M.DELETING}),
    M.ACQUIRED: frozenset({M.FAILED, M.DELETING}),
    M.FAILED: frozenset({M.DELETING}),
    M.DELETING: frozenset({M.DELETED}),
    M.DELETED: frozenset(),
}
COMING = (M.REQUESTED, M.BUILDING, M.PROVISIONED, M.CONFIGURING)
LIVE = (*COMING, M.VACANT, M.ACQUIRED, M.FAILED, M.DELETING)


class Machine(Base):
    """One virtual machine. `session_id` is written once, by the claim, and never again."""

    __tablename__ = "machines"
    __table_args__ = (Index("ix_machines_pick", "pool", "state", "id"), Index("ix_machines_state", "state"))

    id: Mapped[int] = mapped_column(primary_key=True)
    pool: Mapped[str] = mapped_column(String(40))
    environment: Mapped[str] = mapped_column(String(40))
    size: Mapped[str] = mapped_column(String(40))
    cloud: Mapped[str] = mapped_column(String(40))
    state: Mapped[MachineState] = mapped_column(String(16), default=M.REQUESTED)
    changed_at: Mapped[datetime] = mapped_column(default=now)
    requested_at: Mapped[datetime] = mapped_column(default=now)
    vacant_at: Mapped[datetime | None]
    probed_at: Mapped[datetime | None]
    session_id: Mapped[int | None] = mapped_column(index=True)
    node_id: Mapped[str | None] = mapped_column(String(128), index=True)
    address: Mapped[str | None] = mapped_column(String(64))
    host_key: Mapped[str | None] = mapped_column(Text)
    ssh_port: Mapped[int] = mapped_column(default=SSH_PORT)
    failure: Mapped[str | None] = mapped_column(Text)
    evidence: Mapped[str | None] = mapped_column(String(255))
    attempt: Mapped[int] = mapped_column(default=0)  # fences the work on this machine: a stale job finds another number
    image: Mapped[int | None]  # the row of the image that it is built from, or as good as; None: its cloud's own
    work_until: Mapped[datetime | None]  # until then somebody is at work on it, and renews this while alive
    tries: Mapped[int] = mapped_column(default=0)  # how often its cloud was asked in vain for what its state needs
    due_at: Mapped[datetime | None]  # it, or its cloud, is not asked again before then
    doors_due: Mapped[datetime | None]  # when its doors need another certificate
    told: Mapped[str | None] = mapped_column(String(16))  # which of the broker's keys it believes: renewal.mark()

    @property
    def name(self) -> str:
        """The machine's name in its cloud and its host name."""
        return f"{self.environment}-{self.id}"


class TunnelEnd(Base):
    """Our end of the tunnel of one machine that dials out: an address that is its own until it is deleted. It dials in
    with its host key, once its cloud has told us that. A machine of no pool has its end `until` then."""

    __tablename__ = "tunnel_ends"

    address: Mapped[str] = mapped_column(String(15), primary_key=True)
    machine_id: Mapped[int | None] = mapped_column(unique=True)
    host_key: Mapped[str | None] = mapped_column(Text)
    until: Mapped[datetime | None]


class PoolMode(StrEnum):
    """What an administrator wants of a pool, or of a cloud and all its pools."""

    SERVING = "serving"
    DRAINING = "draining"  # gives no machine any more and lets its vacant ones go


class Pool(Base):
    """What is known of a configured pool beyond the settings: an administrator's wishes, and its failures."""

    __tablename__ = "pools"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    mode: Mapped[PoolMode] = mapped_column(String(16), default=PoolMode.SERVING)
    target: Mapped[int | None]  # an administrator's figure in place of the settings'
    limit: Mapped[int | None]
    failures: Mapped[int] = mapped_column(default=0)  # in a row; a vacant machine sets it to 0
    failure: Mapped[str | None] = mapped_column(Text)
    retry_at: Mapped[datetime | None]


class CloudStanding(Base):
    """What is known of a configured cloud beyond the settings: an administrator's wish, its faults, and its room.

    Every process of the deployment reads and writes it: so the whole deployment leaves a cloud in peace that wants it.
    """

    __tablename__ = "clouds"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    mode: Mapped[PoolMode] = mapped_column(String(16), default=PoolMode.SERVING)
    faults: Mapped[int] = mapped_column(default=0)  # in a row; a list that came whole sets it to 0
    fault: Mapped[str | None] = mapped_column(Text)
    fault_at: Mapped[datetime | None]  # of the first in this row
    retry_at: Mapped[datetime | None]  # it is not asked for anything before then
    room_nodes: Mapped[int | None]  # what its quota leaves; None where it sets no limit, or does not say
    room_cores: Mapped[int | None]
    room_memory_gb: Mapped[float | None]


class Reservation(Base):
    """So many machines of an environment for a group alone, from one moment to another; `pools` says how many of each.

    A reservation without a group is for those whom somebody names with each launch: a course's people. Where
    `ends_sessions`, their sessions end with it.
    """

    __tablename__ = "reservations"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(80))
    environment: Mapped[str] = mapped_column(String(40))
    group: Mapped[str] = mapped_column(String(64))
    seats: Mapped[int]
    pools: Mapped[dict[str, Any]]  # pool -> seats
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime] = mapped_column(index=True)
    ends_sessions: Mapped[bool] = mapped_column(default=False)
    made_by: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[datetime] = mapped_column(default=now)
    cancelled_at: Mapped[datetime | None]


class BuildTime(Base):
    """How long a machine took from its request to vacant, in seconds: what estimates are made of."""

    __tablename__ = "build_times"
    __table_args__ = (Index("ix_build_times_recent", "pool", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    pool: Mapped[str] = mapped_column(String(40))
    seconds: Mapped[float]


class PoolDemand(Base):
    """What is expected of a pool that is sized by demand: `launches` in the `seconds` that a build takes."""

    __tablename__ = "pool_demands"

    pool: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[datetime]
    launches: Mapped[float]
    shape: Mapped[float]
    seconds: Mapped[float]
    needed: Mapped[int]
    kept: Mapped[float]  # vacant machines to keep; falls slowly


def move(
    db: Session,
    machine: Machine,
    after: MachineState,
    *,
    reason: str,
    actor: str = events.SYSTEM,
    **values: Any,
) -> None:
    """Move `machine` to `after` and set `values`, or raise WrongState and change nothing.

    The UPDATE names the state and the attempt it expects, so of two racing callers one wins.
    """
    before, left = MachineState(machine.state), machine.pool
    if after not in MOVES[before]:
        raise WrongState(f"Machine {machine.id} cannot go from {before} to {after}.", hint="Reload the page.")
    moved = db.execute(
        update(Machine)
        .where(Machine.id == machine.id, Machine.state == before, Machine.attempt == machine.attempt)
        .values(
            state=after,
            changed_at=now(),
            work_until=None,
            attempt=Machine.attempt + 1,
            tries=0,
            due_at=None,
            **values,
        )
        .execution_options(synchronize_session=False)
    )
    if moved.rowcount != 1:  # type: ignore[attr-defined]
        raise WrongState(f"Machine {machine.id} is no longer {before}.", hint="Try again.")
    if machine in db:
        db.expire(machine)
    pool = values.get("pool", left)
    if pool != left:  # it leaves one pool as it was, and is new in the other
        events.record(db, "machine:left", machine.id, actor=actor, before=before, reason=reason, pool=left)
        events.changed(db, "pool", left)
    was = before if pool == left else None
    events.record(db, f"machine:{after}", machine.id, actor=actor, before=was, reason=reason, pool=pool)
    events.changed(db, "pool", pool)
