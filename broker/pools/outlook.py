"""What is expected of the pools that are sized by demand: learnt from launches, and kept in SQL for all to see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from broker.database import now
from broker.pools import builds, sizing, stock
from broker.pools.forecast import REFRESH, Launches
from broker.pools.models import PoolDemand
from broker.pools.sizing import Demand
from broker.runtime import Runtime
from broker.settings import PoolSettings

Fresh = Callable[[], Iterable[tuple[str, datetime]]]


class Outlook:
    """The leader's memory of launches; `fresh` gives those since it was last asked, by pool, weeks of them at first."""

    def __init__(self, runtime: Runtime, fresh: Fresh) -> None:
        """Nothing is read before demands() is first asked for."""
        self._runtime, self._fresh = runtime, fresh
        self._launches: dict[str, Launches] = {}
        self._since: float | None = None
        self._demands: dict[str, Demand] = {}
        self._look_at = 0.0

    def demands(self) -> Mapping[str, Demand]:
        """What each pool that is sized by demand has to be ready for, looked at again every few minutes."""
        pools = [pool for pool in self._runtime.settings.pools.values() if pool.sizing == "demand"]
        if pools and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + REFRESH
            self._learn(now())
            with self._runtime.database.transaction() as db:
                leads = builds.means(db, [pool.name for pool in pools])
                self._demands = {pool.name: self._look(db, pool, leads[pool.name], now()) for pool in pools}
        return self._demands

    def _learn(self, moment: datetime) -> None:
        launches = sorted((at.timestamp(), pool) for pool, at in self._fresh())
        if self._since is None:
            self._since = launches[0][0] if launches else moment.timestamp()
        for at, pool in launches:
            self._of(pool).note(at)

    def _of(self, pool: str) -> Launches:
        return self._launches.setdefault(pool, Launches(self._since or 0.0))

    def _look(self, db: Session, pool: PoolSettings, lead: float, moment: datetime) -> Demand:
        """The pool's demand now, written down where pages and the next leader find it; a build takes `lead` seconds."""
        forecast = self._of(pool.name).forecast(moment.timestamp(), lead)
        row = db.get(PoolDemand, pool.name)
        before = stock.demand_of(pool, row) if row is not None else None
        passed = (moment - row.at).total_seconds() if row is not None else 0.0
        demand = sizing.expect(forecast, stock.aim_of(pool), before, passed)
        if row is None:
            row = PoolDemand(pool=pool.name)
            db.add(row)
        row.at, row.needed, row.kept = moment, demand.needed, demand.kept
        row.launches, row.shape, row.seconds = forecast.launches, forecast.shape, forecast.seconds
        return demand
