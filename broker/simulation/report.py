"""What a simulation found: a page that stands alone, figures as JSON, and a few lines for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from broker.pools.sizing import span
from broker.simulation.figures import Figures, PoolFigures
from broker.simulation.plots import Axis, Line, plot, upward
from broker.simulation.scenario import HOUR, Scenario

WAITS = ((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (36000, "10 h"))


@dataclass(frozen=True)
class PoolRow:
    """One pool under each policy that has it, in the policies' order; None where one has not."""

    name: str
    limit: int
    by_policy: tuple[PoolFigures | None, ...]


def page(scenario: Scenario, found: Sequence[Figures], wait_chance: float) -> str:
    """The report as one HTML file."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters.update(span=span, percent=percent, whole="{:,.0f}".format)
    return environment.get_template("report.html").render(
        scenario=scenario,
        found=found,
        wait_chance=wait_chance,
        verdict=verdict(found, wait_chance),
        refused=refused(found),
        has_costs=has_costs(found),
        pools=pool_rows(found),
        faults=_faults(scenario),
        plots=[(title, caption, Markup(svg)) for title, caption, svg in _plots(scenario, found)],  # noqa: S704
    )


def _faults(scenario: Scenario) -> list[str]:
    """The faults with their hours of the day."""

    def clock(moment: float) -> str:
        minutes = round(60 * scenario.clock(moment))
        return f"{minutes // 60}:{minutes % 60:02}"

    return [f"{fault.title} ({clock(fault.start)} to {clock(fault.end)})" for fault in scenario.faults]


def verdict(found: Sequence[Figures], wait_chance: float) -> str:
    """Which policy to take, in a sentence: of those that wait rarely enough the cheapest, by `cost` where pools have
    one, else by machine hours."""
    if not any(one.launches for one in found):
        return "Nobody was served on this day: there is nothing to compare."
    by_cost = has_costs(found)
    good = [one for one in found if one.waited_share <= wait_chance]
    if not good:
        nearest = min(found, key=lambda one: (one.waited_share, one.spent(by_cost)))
        full = f", {percent(nearest.full_share)} because pools were at their limits" if nearest.full_share else ""
        return (
            f"No policy keeps waiting to {percent(wait_chance)} of launches. The nearest is “{nearest.policy.title}”: "
            f"{percent(nearest.waited_share)} wait{full}."
        )
    best = min(good, key=lambda one: one.spent(by_cost))
    less = "costs less" if by_cost else "takes fewer machine hours"
    return (
        f"With “{best.policy.title}”, {percent(best.waited_share)} of launches wait, and no policy that keeps to "
        f"{percent(wait_chance)} {less}: {best.spent(by_cost):,.0f}{_beside(best, found[0], by_cost)}."
    )


def _beside(best: Figures, first: Figures, by_cost: bool) -> str:
    if best is first or not first.spent(by_cost):
        return ""
    saved = 1 - best.spent(by_cost) / first.spent(by_cost)
    less, more = ("less", "more") if by_cost else ("fewer", "more")
    return f", {percent(abs(saved))} {less if saved > 0 else more} than “{first.policy.title}”"


def has_costs(found: Sequence[Figures]) -> bool:
    """Whether the pools say what their machines cost."""
    return any(one.cost for one in found)


def refused(found: Sequence[Figures]) -> str:
    """What is said of launches that no pool could ever serve; nothing where there are none."""
    one = max(found, key=lambda each: each.refused)
    if not one.refused:
        return ""
    (why, number), *others = Counter(one.refusals).most_common()
    more = f", and {one.refused - number} more" if others else ""
    return f"No pool could ever serve {one.refused} launches, and they are not counted: {number} of {why}{more}."


def pool_rows(found: Sequence[Figures]) -> list[PoolRow]:
    """All pools, those with the most launches first; bases last."""
    known = {pool.name: pool for figures in found for pool in figures.pools}
    rows = [
        PoolRow(name, pool.limit, tuple(next((p for p in one.pools if p.name == name), None) for one in found))
        for name, pool in known.items()
    ]
    return sorted(rows, key=lambda row: -max(pool.launches for pool in row.by_policy if pool is not None))


def _plots(scenario: Scenario, found: Sequence[Figures]) -> list[tuple[str, str, str]]:
    first, last = scenario.clock(scenario.measured_from), scenario.clock(scenario.until)
    step = max(1, round((last - first) / 8))
    hours = [(h, f"{h % 24}:00") for h in range(math.ceil(first), math.floor(last) + 1, step)]
    clock = Axis(first, last, hours, "hour of the day (UTC)")
    bands = [(scenario.clock(f.start), scenario.clock(f.end), f.title) for f in scenario.faults]

    def over_the_day(title: str, values: Sequence[Sequence[float]]) -> str:
        lines = [Line(f.policy.title, f.policy.name, f.series.hour, v) for f, v in zip(found, values, strict=True)]
        return plot(lines, clock, upward([n for v in values for n in v], ""), title, bands)

    return [
        ("Waiting", "The share of launches that waited longer than this.", _waiting(found)),
        (
            "Vacant machines",
            "Ready, and used by nobody.",
            over_the_day("Vacant machines over the day", [f.series.vacant for f in found]),
        ),
        (
            "People who wait",
            "For a machine, at each moment.",
            over_the_day("People who wait, over the day", [f.series.waiting for f in found]),
        ),
        (
            "All machines",
            "In use, vacant and being made ready: what is paid for.",
            over_the_day(
                "Machines over the day",
                [list(map(sum, zip(f.series.acquired, f.series.vacant, f.series.coming, strict=True))) for f in found],
            ),
        ),
    ]


def _waiting(found: Sequence[Figures]) -> str:
    longest = max([60.0, *(f.longest_wait for f in found)])
    ticks = [(seconds, words) for seconds, words in WAITS if seconds <= longest]
    x = Axis(1, longest, ticks, "waited longer than", scale=math.log10)
    lines = []
    for figures in found:
        waits = sorted(wait.seconds for wait in figures.waits)
        total = max(1, figures.launches)
        points = [(1.0, 100 * len(waits) / total)]
        for number, seconds in enumerate(waits):
            before, after = (100 * (len(waits) - n) / total for n in (number, number + 1))
            points += [(max(1.0, seconds), before), (max(1.0, seconds), after)]
        lines.append(Line(figures.policy.title, figures.policy.name, [p[0] for p in points], [p[1] for p in points]))
    y = upward([value for line in lines for value in line.y] + [1.0], "")
    y = Axis(y.low, y.high, [(value, f"{words} %") for value, words in y.ticks], "")
    return plot(lines, x, y, "The share of launches that waited longer than so many seconds")


def figures(scenario: Scenario, found: Sequence[Figures], wait_chance: float) -> dict[str, Any]:
    """The same as JSON: waits in seconds, shares from 0 to 1."""
    return {
        "scenario": scenario.title,
        "wait_chance": wait_chance,
        "faults": _faults(scenario),
        "verdict": verdict(found, wait_chance),
        "policies": [_of_policy(one) for one in found],
    }


def _of_policy(one: Figures) -> dict[str, Any]:
    return {
        "name": one.policy.name,
        "title": one.policy.title,
        "launches": one.launches,
        "refused": one.refused,
        "refusals": dict(one.refusals),
        "waited_share": one.waited_share,
        "waited_at_limit_share": one.full_share,
        "wait_p95": one.wait(0.95),
        "wait_p99": one.wait(0.99),
        "wait_longest": one.longest_wait,
        "utilisation": one.utilisation,
        "machine_hours": one.machine_hours,
        "vacant_hours": one.hours.vacant / HOUR,
        "coming_hours": one.hours.coming / HOUR,
        "used_hours": one.hours.acquired / HOUR,
        "core_hours": one.core_hours,
        "idle_core_hours": one.idle_core_hours,
        "cost": one.cost,
        "builds": one.builds,
        "removed_unused": one.removed,
        "pools": [vars(pool) for pool in one.pools],
    }


def lines(found: Sequence[Figures], wait_chance: float) -> list[str]:
    """A short table and the verdict, for the terminal."""
    by_cost = has_costs(found)
    head = f"{'policy':26}{'wait':>8}{'p99':>9}{'longest':>9}{'vacant':>8}{'used':>7}{'hours':>11}{'idle core h':>13}"
    rows = [
        f"{f.policy.title:26}{percent(f.waited_share):>8}{span(f.wait(0.99)):>9}{span(f.longest_wait):>9}"
        f"{sum(p.mean_vacant for p in f.pools):8.1f}{percent(f.utilisation):>7}"
        f"{f.machine_hours:11,.0f}{f.idle_core_hours:13,.0f}" + (f"{f.cost:11,.0f}" if by_cost else "")
        for f in found
    ]
    said = [refused(found)] if refused(found) else []
    return [head + (f"{'cost':>11}" if by_cost else ""), *rows, "", *said, verdict(found, wait_chance)]


def percent(share: float) -> str:
    """ "1.3 %", and no more digits than one needs."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %" if value >= 0.1 else f"{value:.2f} %"
