"""A day of 6,000 launches in 200 pools on 20 clouds under each policy, and what sizing saves a service like ISIS's."""

from __future__ import annotations

import heapq
import random
import time

from bench.rows import Row, write
from broker.simulation import generate
from broker.simulation.engine import Engine
from broker.simulation.figures import Figures
from broker.simulation.policies import DEMAND, FIXED, POLICIES
from broker.simulation.scenario import Scenario

SECONDS = 30.0


def floor(events: int) -> float:
    """CPU seconds of a bare heap for so many events: each is taken off and another put on, with 1,000 waiting."""
    draw = random.Random(1)
    heap = [(draw.random(), number) for number in range(1000)]
    heapq.heapify(heap)
    began = time.process_time()
    for number in range(events):
        at, _ = heapq.heappop(heap)
        heapq.heappush(heap, (at + draw.random(), number))
    return time.process_time() - began


def speed(scenario: Scenario) -> list[Row]:
    """One row for each policy."""
    rows = []
    for policy in POLICIES:
        began = time.process_time()
        found = Engine(scenario, policy).run()
        took = time.process_time() - began
        bare = floor(found.events)
        name, note = (
            f"simulate {policy.name}",
            f"{found.launches} launches, {found.events} events, {len(found.pools)} pools",
        )
        met = took <= SECONDS and found.launches >= 6000
        rows.append(Row(name, took, "s CPU", "bare heap", bare, took / bare, SECONDS, met, note))
    return rows


def savings(scenario: Scenario) -> list[Row]:
    """Launches that wait, and machine hours beside fixed sizes."""
    found = {policy: Engine(scenario, policy).run() for policy in POLICIES}
    fixed = found[FIXED]
    return [row for figures in found.values() for row in _savings(figures, fixed)]


def _savings(one: Figures, fixed: Figures) -> list[Row]:
    name = f"simulate isis {one.policy.name}"
    hours, beside = one.machine_hours, fixed.machine_hours
    better = None if one.policy is not DEMAND else hours < beside and one.waited_share <= fixed.waited_share
    at_limit = f"{100 * one.full_share:.1f} % because pools were at their limits"
    return [
        Row(f"{name} waited", 100 * one.waited_share, "%", note=at_limit),
        Row(f"{name} hours", hours, "h", "fixed", beside, hours / beside, 1.0, better),
    ]


def main() -> None:
    """Speed, then savings."""
    write(speed(generate.scenario(generate.large(), launches=6200)))
    write(savings(generate.scenario(generate.isis())))
