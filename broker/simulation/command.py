"""`beamdesk simulate`: which day, under which policies, and what came of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from broker.errors import InvalidRequest
from broker.pools import stock
from broker.settings import load
from broker.simulation import faults, generate, recording, report
from broker.simulation.engine import Engine
from broker.simulation.figures import Figures
from broker.simulation.policies import POLICIES, Policy
from broker.simulation.scenario import Pool, Scenario, clouds_of, pools_of

Progress = Callable[[Policy, float], None]


@dataclass(frozen=True)
class Asked:
    """What the operator asked for; None: as the scenario has it."""

    day: Path | None = None
    facility: str | None = None
    launches: int | None = None
    seed: int = 1
    with_faults: bool = False
    wait_chance: float | None = None
    build_minutes: float | None = None
    course: int | None = None


def scenario(asked: Asked) -> Scenario:
    """The recorded day, the made-up facility, or a made-up day of the settings' pools."""
    found = _found(asked)
    found = replace(found, pools=tuple(_as_asked(asked, pool) for pool in found.pools))
    if asked.course is not None:
        found = generate.with_course(found, asked.course, asked.seed)
    if asked.with_faults:
        names = [cloud.name for cloud in found.clouds]
        found = replace(found, faults=faults.bad_day(names, found.measured_from, random.Random(asked.seed)))
    return found


def _found(asked: Asked) -> Scenario:
    if asked.facility is not None:
        facility = generate.FACILITIES[asked.facility]()
        return generate.scenario(facility, launches=asked.launches, seed=asked.seed)
    settings = load()
    pools = pools_of(settings, {})
    if not pools:
        raise InvalidRequest("The settings have no pools.", hint="A made-up service has some: --facility isis.")
    if asked.day is not None:
        return recording.read(asked.day, settings)
    facility = generate.of_settings(clouds_of(settings), pools)
    found = generate.scenario(facility, launches=asked.launches, seed=asked.seed)
    return replace(found, weights=stock.weights(settings))


def _as_asked(asked: Asked, pool: Pool) -> Pool:
    if asked.wait_chance is not None:
        pool = replace(pool, aim=replace(pool.aim, wait_chance=asked.wait_chance))
    if asked.build_minutes is not None:
        pool = replace(pool, build_seconds=60 * asked.build_minutes)
    return pool


def wait_chance(found: Scenario) -> float:
    """The chance of waiting that the strictest pool of the scenario is to keep to."""
    return min((pool.aim.wait_chance for pool in found.pools), default=0.01)


def run(found: Scenario, policies: Sequence[Policy], seed: int, progress: Progress) -> list[Figures]:
    """The scenario under each policy, one after the other."""
    return [Engine(found, policy, seed).run(partial(progress, policy)) for policy in policies]


def chosen(names: Sequence[str]) -> list[Policy]:
    """The policies of these names, or all."""
    return [policy for policy in POLICIES if not names or policy.name in names]


def write(found: Scenario, results: Sequence[Figures], page: Path | None, figures: Path | None) -> None:
    """The report and the figures, where they are wished for."""
    chance = wait_chance(found)
    if page is not None:
        page.write_text(report.page(found, results, chance), encoding="utf-8")
    if figures is not None:
        figures.write_text(json.dumps(report.figures(found, results, chance), indent=1), encoding="utf-8")
