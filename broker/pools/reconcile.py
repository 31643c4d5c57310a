"""What the cloud shows against what the database says. Pure: it decides, the manager does.

A node carries the id of its machine as a tag, so a node whose creation was answered with an error, or by a worker
that died before it wrote the answer down, is recognised. A node without our tags never gets here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from broker.clouds.adapter import MACHINE, CloudNode
from broker.pools.models import MachineState

M = MachineState
SEEN_MISSING = 3  # passes in a row before a node counts as lost: a list may miss one


class Step(StrEnum):
    """What a machine's row should do."""

    ADOPT = "adopt"  # the node exists though its creation was never confirmed
    ARRIVED = "arrived"  # it runs
    BROKE = "broke"  # the cloud says that it failed
    LATE = "late"  # it took too long
    LOST = "lost"  # the cloud no longer knows it
    GONE = "gone"  # it was to be deleted, and is


@dataclass(frozen=True)
class Row:
    """A machine as the database has it; `age` is the seconds that it is in its state."""

    id: int
    state: MachineState
    node_id: str | None
    age: float


@dataclass(frozen=True)
class Finding:
    """One machine that should take a step, with the node where there is one."""

    machine_id: int
    step: Step
    node: CloudNode | None = None


@dataclass
class Memory:
    """What earlier passes over one cloud saw: passes that a machine is missing, and since when a node is unknown."""

    missing: dict[int, int] = field(default_factory=dict)
    unknown: dict[str, float] = field(default_factory=dict)


def machine_of(node: CloudNode) -> int | None:
    """The id of the machine that the node says it is."""
    tag = node.tags.get(MACHINE, "")
    return int(tag) if tag.isascii() and tag.isdecimal() else None


def compare(rows: Sequence[Row], nodes: Sequence[CloudNode], memory: Memory, *, build_timeout: float) -> list[Finding]:
    """What each machine of the cloud should do; `memory` counts what is missing."""
    by_id = {node.id: node for node in nodes}
    by_tag = {machine_of(node): node for node in nodes if node.state != "gone"}
    findings = []
    for row in rows:
        node = by_id.get(row.node_id or "") or by_tag.get(row.id)
        present = node is not None and node.state != "gone"
        memory.missing[row.id] = 0 if present else memory.missing.get(row.id, 0) + 1
        step = _step(row, node if present else None, memory.missing[row.id], build_timeout)
        if step is not None:
            findings.append(Finding(row.id, step, node))
    known = {row.id for row in rows}
    memory.missing = {id_: n for id_, n in memory.missing.items() if id_ in known}
    return findings


def _step(row: Row, node: CloudNode | None, missing: int, build_timeout: float) -> Step | None:
    if node is None:
        return _without_node(row, missing, build_timeout)
    if row.node_id is None:
        return Step.ADOPT
    if node.state == "failed" and row.state not in (M.FAILED, M.DELETING):
        return Step.BROKE
    if row.state == M.BUILDING:
        if node.state == "running" and node.address and node.host_key:
            return Step.ARRIVED
        return Step.LATE if row.age > build_timeout else None
    return None


def _without_node(row: Row, missing: int, build_timeout: float) -> Step | None:
    if row.state == M.DELETING:
        return Step.GONE if missing >= SEEN_MISSING else None
    if row.state in (M.REQUESTED, M.FAILED):
        return Step.LATE if row.state == M.REQUESTED and row.age > build_timeout else None
    return Step.LOST if missing >= SEEN_MISSING else None


def why(finding: Finding, build_timeout: float) -> str:
    """What an administrator is told of a machine that broke, was lost or is late."""
    node, late = finding.node, f"{build_timeout:.0f} s after it was asked for"
    if finding.step is Step.LOST:
        return "the cloud no longer has this machine"
    if finding.step is Step.BROKE:
        return (node.error if node else None) or "its cloud says that it failed"
    if node is None or node.state != "running":
        return f"not running {late}"
    if not node.address:
        return f"{node.error or 'it runs, and has no address'} {late}"
    return f"it runs, and its host key is not known {late}: does its image run cloud-init?"


def orphans(
    nodes: Sequence[CloudNode], live: Mapping[int, str | None], memory: Memory, *, moment: float, grace: float
) -> list[CloudNode]:
    """Nodes of ours that no live machine claims, unknown for the whole `grace` (seconds) and in two passes at least.

    `live` has the live machines, each with the node that it claims: another one that says it is this machine was
    built twice. One without a node yet may claim any.
    """
    there = [node for node in nodes if node.state in ("building", "running", "failed")]
    strangers = [node for node in there if live.get(machine_of(node) or 0, "none") not in (None, node.id)]
    memory.unknown = {node.id: memory.unknown.get(node.id, moment) for node in strangers}
    return [n for n in strangers if moment - memory.unknown[n.id] >= grace and memory.unknown[n.id] < moment]
