"""How many? Pure: from a pool's counts to what should be built or removed, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """A pool as it stands. `queued` are sessions that wait for a machine of it; `failed` ones are in quarantine."""

    vacant: int = 0
    coming: int = 0
    acquired: int = 0
    failed: int = 0
    deleting: int = 0
    queued: int = 0

    @property
    def held(self) -> int:
        """Machines that use the pool's limit; quarantined and dying ones still do."""
        return self.vacant + self.coming + self.acquired + self.failed + self.deleting


@dataclass(frozen=True)
class Plan:
    """Machines to build and vacant machines to remove; `reason` is shown to administrators."""

    build: int
    remove: int
    reason: str


def plan(counts: Counts, *, target: int, limit: int, batch: int) -> Plan:
    """Keep `target` machines vacant beyond those that wait for a queued session, within `limit`.

    Building goes in batches of at most `batch`, which is what its cloud may still be asked for at a time.
    Machines being built count as vacant soon, so none is built twice; too many vacant ones are removed, those on
    their way never are.
    """
    wanted = target + counts.queued
    short = wanted - counts.vacant - counts.coming
    room = limit - counts.held
    build = max(0, min(short, room, batch))
    remove = max(0, min(counts.vacant, counts.vacant + counts.coming - wanted))
    return Plan(build, remove, _reason(short, room, build, remove, counts, target))


def _reason(short: int, room: int, build: int, remove: int, counts: Counts, target: int) -> str:
    goal = f"target {target}" + (f" and {counts.queued} waiting" if counts.queued else "")
    have = f"{counts.vacant} vacant, {counts.coming} coming"
    if build:
        held_back = f"; {short - build} later" if short > build else ""
        return f"building {build}: {goal}, {have}{held_back}"
    if remove:
        return f"removing {remove}: {goal}, {have}"
    if short > 0:
        return f"{short} short of {goal}: {'the limit is reached' if room <= 0 else 'its cloud is busy'}"
    return f"{goal}: {have}"
