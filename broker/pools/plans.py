"""What every pool would do now, and why: the manager carries it out, pages show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from broker.database import now
from broker.pools import bookings, rolling, sizing, stock
from broker.pools.breaker import Breaker
from broker.pools.models import MachineState, Pool
from broker.pools.reserving import Kept
from broker.pools.sizing import NONE_MORE, Counts, Demand, More, Plan
from broker.pools.standing import Standing
from broker.pools.warmth import Loan
from broker.settings import PoolSettings, Settings


@dataclass(frozen=True)
class Outset:
    """All that plans are made from, by pool but for `clouds`; in `counts`, machines that come to replace others are as
    good as gone."""

    held: Mapping[str, Counter[MachineState]]
    counts: Mapping[str, Counts]
    wishes: Mapping[str, Pool]
    clouds: Mapping[str, Standing]
    demands: Mapping[str, Demand]
    more: Mapping[str, More]
    moment: datetime

    def after(self, loans: Iterable[Loan]) -> Outset:
        """The same with these machines lent."""
        gone, come = Counter(loan.shelf for loan in loans), Counter(loan.pool for loan in loans)
        counts = {
            name: replace(each, vacant=each.vacant - gone[name], coming=each.coming + come[name])
            for name, each in self.counts.items()
        }
        return replace(self, counts=counts)


def look(
    db: Session,
    settings: Settings,
    queued: Mapping[str, int],
    clouds: Mapping[str, Standing],
    demands: Mapping[str, Demand],
    kept: Kept,
) -> Outset:
    """How the pools stand; `queued` counts the sessions that wait."""
    held, wishes = stock.counts(db, settings.pools), stock.wishes_of_administrators(db)
    shown = rolling.without_replacements(db, settings, held)
    counts = {name: stock.counts_of(shown[name], queued.get(name, 0)) for name in settings.pools}
    more = bookings.more(kept, stock.taken_over(settings, held, wishes, clouds, demands, kept), settings.pools)
    return Outset(held, counts, wishes, clouds, demands, more, now())


def wanted(settings: Settings, outset: Outset) -> dict[str, Plan]:
    """The plans if clouds built whatever they are asked for."""
    return {name: _plan(outset, pool, sizing.UNBOUNDED) for name, pool in settings.pools.items()}


def plans(settings: Settings, outset: Outset) -> dict[str, Plan]:
    """The plans within what each cloud may be asked for now, which its pools share."""
    pools, clouds = settings.pools, outset.clouds
    space = {name: stock.fitting(clouds[pool.cloud].room, settings.sizes[pool.size]) for name, pool in pools.items()}
    lacks = {name: _plan(outset, pool, space[name]).build for name, pool in pools.items()}
    dealt: dict[str, int] = {}
    for cloud, slots in stock.free_builds(settings, outset.held, clouds).items():
        own = {name: outset.counts[name] for name, pool in pools.items() if pool.cloud == cloud}
        short = {name: (c.queued - c.vacant - c.coming, lacks[name], c.coming) for name, c in own.items()}
        dealt.update(sizing.deal(short, slots))
    return {name: _plan(outset, pool, dealt[name], _BUSY if space[name] else _FULL) for name, pool in pools.items()}


_BUSY, _FULL = "its cloud is busy with others", "its cloud's quota leaves no room"


def _plan(outset: Outset, pool: PoolSettings, batch: int, why_none: str = "") -> Plan:
    counts, cloud, wish = outset.counts[pool.name], outset.clouds[pool.cloud], outset.wishes.get(pool.name)
    target, limit = stock.target_and_limit(pool, wish)
    if cloud.draining or not stock.is_serving(wish):
        plan = sizing.plan(replace(counts, queued=0), target=0, limit=limit, batch=0)
        what = "its cloud is being drained" if stock.is_serving(wish) else "draining"
        return replace(plan, reason=f"{what}: {counts.vacant} vacant to go, {counts.acquired} in use")
    held_back = _held_back(wish, cloud, outset.moment)
    return sizing.plan(
        counts,
        target=target,
        limit=limit,
        batch=0 if held_back else batch,
        more=outset.more.get(pool.name, NONE_MORE),
        demand=outset.demands.get(pool.name),
        why_none=held_back or why_none,
    )


def _held_back(wish: Pool | None, cloud: Standing, moment: datetime) -> str | None:
    """Why nothing is built now whatever is short, in words."""
    if cloud.breaker is not Breaker.CLOSED:
        return "its cloud is away"
    if wish is not None and wish.retry_at is not None and wish.retry_at > moment:
        seconds, failures = round((wish.retry_at - moment).total_seconds()), wish.failures
        return f"it waits {seconds} s after {failures} failure{'s' if failures != 1 else ''} in a row"
    return None
