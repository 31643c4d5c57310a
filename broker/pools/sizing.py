"""How many? Pure: from a pool's counts, and what is expected of it, to what should be built or removed, and why.

A pool is either kept at a fixed number of vacant machines, or sized by demand. Then a launch has to wait if more
launches came in the time that one build takes than machines were kept vacant or coming: the base-stock policy with
backorders (Zipkin, Foundations of Inventory Management, section 6.2). Launches that come find the demand that any
moment finds (PASTA), and of the build times only the mean matters (Palm's theorem), so that the smallest stock S with
P(demand during a build >= S) <= the chance of waiting is what is needed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

from broker.pools.forecast import HOUR, Forecast

UNBOUNDED = 1_000_000  # a batch that holds nothing back
SLOWEST_FALL = 0.5 * HOUR  # what is kept falls to 1/e of it in this time, or in two builds


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
class Aim:
    """What demand sizing is to reach, besides the pool's target, which is the least that it keeps.

    `wait_chance` is the chance that a launch may have to wait, `most` the most vacant machines, `worth_hours` the
    machine hours that sparing one launch its wait may cost. None: no such bound.
    """

    wait_chance: float = 0.01
    most: int | None = None
    worth_hours: float | None = None


@dataclass(frozen=True)
class Demand:
    """What is expected of a pool while one machine is built (`forecast.seconds`): `needed` vacant machines for it.

    `kept` is the number to keep now: it follows `needed` up at once and down slowly.
    """

    forecast: Forecast
    needed: int
    kept: float
    aim: Aim = Aim()


@dataclass(frozen=True)
class Plan:
    """Machines to build and vacant machines to remove; `reason` is shown to administrators."""

    build: int
    remove: int
    reason: str


def needed(forecast: Forecast, aim: Aim) -> int:
    """The vacant and coming machines with which a launch waits with at most the aim's chance, and that are worth it.

    The last of S machines spares a wait each time that exactly S - 1 launches came within a build; where that costs
    more machine hours than the aim allows, it is not kept (the newsvendor's margin).
    """
    chances: list[float] = []
    served = 0.0
    for chance in forecast.chances():
        if served >= 1 - aim.wait_chance:
            break
        chances.append(chance)
        served += chance
    if aim.worth_hours is not None:
        while chances and forecast.hourly * chances[-1] * aim.worth_hours < 1:
            chances.pop()
    return len(chances) if aim.most is None else min(len(chances), aim.most)


def expect(forecast: Forecast, aim: Aim, before: Demand | None, seconds: float) -> Demand:
    """The demand now, `seconds` after it was `before`."""
    need = needed(forecast, aim)
    slowly = before.kept * math.exp(-max(0.0, seconds) / max(SLOWEST_FALL, 2 * forecast.seconds)) if before else 0.0
    return Demand(forecast, need, max(need, slowly), aim)


def goal(target: int, demand: Demand | None) -> int:
    """Vacant machines to keep: the target, or what demand asks for where that is more."""
    return target if demand is None else max(target, math.ceil(demand.kept - 1e-9))


@dataclass(frozen=True)
class More:
    """Machines that a pool keeps vacant beyond its own: `reserved` ones, of which `why` tells in words ("12 more for
    Mantid course, which begins at 14:00 UTC"), and those in place of pools whose cloud is away."""

    reserved: int = 0
    why: str = ""
    taken_over: int = 0


NONE_MORE = More()


def plan(
    counts: Counts,
    *,
    target: int,
    limit: int,
    batch: int,
    more: More = NONE_MORE,
    demand: Demand | None = None,
    why_none: str = "its cloud is busy",
) -> Plan:
    """Keep machines vacant beyond those that wait for a queued session, within `limit`: `target`, or what `demand`
    asks for, and `more` for reservations that begin soon and for pools that are away.

    Building goes in batches of at most `batch`, which is what its cloud may still be asked for at a time.
    Machines being built count as vacant soon, so none is built twice; too many vacant ones are removed, those on
    their way never are. Sized by demand, some too many are left to be used up: what is wanted may soon be more again.
    `why_none` is said where something is short and `batch` is 0.
    """
    keep = goal(target, demand)
    wanted = keep + more.reserved + more.taken_over + counts.queued
    short = wanted - counts.vacant - counts.coming
    room = limit - counts.held
    slack = 0 if demand is None else max(1, keep // 4)
    build = max(0, min(short, room, batch))
    remove = max(0, min(counts.vacant, -short - slack))
    why_none = "the limit is reached" if room <= 0 else why_none
    return Plan(build, remove, _reason(short, build, remove, counts, _goal_in_words(keep, more, demand), why_none))


def deal(short: Mapping[str, tuple[int, int, int]], slots: int) -> dict[str, int]:
    """Share the builds that a cloud may still be asked for among its pools; nobody starves.

    `short` has for each pool how many sessions wait with no machine on its way to them, how many machines it is short
    of, and how many are coming. Waiting people come first; of equals, the pool that has the fewest coming.
    """
    dealt = dict.fromkeys(short, 0)
    heap = [(waits <= 0, coming, name) for name, (waits, lacks, coming) in short.items() if lacks > 0]
    heapq.heapify(heap)
    for _ in range(slots):
        if not heap:
            break
        _, coming, name = heap[0]
        dealt[name] += 1
        waits, lacks, _ = short[name]
        if dealt[name] < lacks:
            heapq.heapreplace(heap, (dealt[name] >= waits, coming + 1, name))
        else:
            heapq.heappop(heap)
    return dealt


def _reason(short: int, build: int, remove: int, counts: Counts, keep: str, why_none: str) -> str:
    goal = keep + (f" and {counts.queued} waiting" if counts.queued else "")
    have = f"{counts.vacant} vacant, {counts.coming} coming"
    if build:
        held_back = f"; {short - build} later" if short > build else ""
        return f"building {build}: {goal}, {have}{held_back}"
    if remove:
        return f"removing {remove}: {goal}, {have}"
    if short > 0:
        return f"{short} short of {goal}: {why_none}"
    return f"{goal}: {have}"


def _goal_in_words(keep: int, more: More, demand: Demand | None) -> str:
    parts = [f"target {keep}" if demand is None else because(keep, demand)]
    if more.reserved:
        parts.append(more.why)
    if more.taken_over:
        parts.append(f"{more.taken_over} more for pools whose cloud is away")
    return ", ".join(parts)


def because(keep: int, demand: Demand) -> str:
    """Why demand sizing keeps that many: "8, because 5.2 launches an hour are expected and a build takes 11 min"."""
    hourly = demand.forecast.hourly
    expected = f"{hourly:.1f}" if hourly >= 0.05 else "hardly any"
    facts = f"because {expected} launches an hour are expected and a build takes {span(demand.forecast.seconds)}"
    if keep > math.ceil(demand.kept - 1e-9):
        return f"{keep}, the least set, though {demand.needed} would do {facts}"
    if keep > demand.needed:
        return f"{keep}, on the way down to {demand.needed}, {facts}"
    if demand.aim.most is not None and keep >= demand.aim.most:
        return f"{keep}, the most set, {facts}"
    return f"{keep}, {facts}"


def span(seconds: float) -> str:
    """A duration in short: "40 s", "11 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / HOUR:.1f} h"
