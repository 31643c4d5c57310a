"""From launches in the database to machines asked for, and what administrators are told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from broker.database import now
from broker.events import Event
from broker.identity.service import Person, create_account
from broker.pools import overview, stock
from broker.pools.forecast import REFRESH
from broker.pools.manager import PoolManager
from broker.pools.models import BuildTime, Machine, PoolDemand
from broker.runtime import Runtime
from broker.sessions.launches import LaunchLog
from broker.sessions.models import SessionState, UserSession
from broker.settings import PoolSettings


@pytest.fixture
def busy(each_runtime: Runtime) -> Runtime:
    """A deployment whose pool light-ral is sized by demand, was launched 12 times an hour for a day, and builds in 11
    minutes."""
    person = create_account(each_runtime, "bob", "Bob", "bob-secret")
    launched(each_runtime, person, 288)
    with each_runtime.database.transaction() as db:
        db.execute(insert(BuildTime), [{"pool": "light-ral", "seconds": seconds} for seconds in (600, 660, 720)])
    pools = dict(each_runtime.settings.pools)
    pools["light-ral"] = PoolSettings.model_validate(
        {**pools["light-ral"].model_dump(), "sizing": "demand", "limit": 20, "target": 1}
    )
    return Runtime(each_runtime.settings.model_copy(update={"pools": pools}), each_runtime.database)


def fill(keeper: PoolManager) -> None:
    """The part of a pass that this is about."""
    keeper._fill({}, keeper._standings())


def launched(runtime: Runtime, person: Person, number: int) -> None:
    """So many launches, one each five minutes until now."""
    with runtime.database.transaction() as db:
        one = {"user_id": person.user_id, "environment": "light", "wish": {}, "pool": "light-ral"}
        moments = [now() - timedelta(minutes=5 * n) for n in reversed(range(number))]
        db.execute(insert(UserSession), [{**one, "state": SessionState.ENDED, "requested_at": at} for at in moments])


def test_launches_become_machines_with_the_reason_in_words(busy: Runtime) -> None:
    """12 an hour and 11 minutes are 2.2 a build; the audit log says why so many were asked for."""
    fill(PoolManager(busy, LaunchLog(busy).fresh))
    with busy.database.reading() as db:
        card = next(card for card in overview.pools(db, busy.settings, {}) if card.name == "light-ral")
        reasons = db.scalars(select(Event.detail).where(Event.action == "machine:requested")).all()
        asked = db.scalars(select(Machine.id).where(Machine.pool == "light-ral")).all()
    assert 5 <= card.goal <= 9
    assert len(asked) == busy.settings.clouds["ral"].concurrent_builds - 1  # one slot is science-ral's
    assert card.launches_hourly == pytest.approx(12, abs=2)
    assert "launches an hour are expected and a build takes 11 min" in card.reason
    assert any("a build takes 11 min" in detail["reason"] for detail in reasons)


def test_the_forecast_is_made_once_in_a_while_and_kept_for_the_next_leader(
    busy: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass each second reads no launch again; another manager goes on from what was kept."""
    calls = []
    log = LaunchLog(busy)
    keeper = PoolManager(busy, lambda: calls.append(1) or log.fresh())  # type: ignore[func-returns-value]
    for _ in range(5):
        fill(keeper)
    assert len(calls) == 1
    clock = iter([1e9, 1e9, 1e9 + REFRESH, 1e9 + REFRESH])
    monkeypatch.setattr("broker.pools.outlook.time.monotonic", lambda: next(clock))
    fill(keeper)
    fill(keeper)
    assert len(calls) == 3
    with busy.database.transaction() as db:
        db.get_one(PoolDemand, "light-ral").kept = 14.0
    monkeypatch.undo()
    fill(PoolManager(busy, LaunchLog(busy).fresh))
    with busy.database.reading() as db:
        demand = stock.demands(db, busy.settings)["light-ral"]
    assert 13 < demand.kept <= 14
    assert demand.needed < 10


def test_a_pool_with_a_fixed_size_is_kept_as_it_was(busy: Runtime) -> None:
    """No forecast for those who did not ask."""
    fill(PoolManager(busy, LaunchLog(busy).fresh))
    with busy.database.reading() as db:
        assert set(stock.demands(db, busy.settings)) == {"light-ral"}
        card = next(card for card in overview.pools(db, busy.settings, {}) if card.name == "light-dl")
    assert (card.goal, card.launches_hourly) == (1, None)
    assert card.reason.startswith("target 1")


def test_each_launch_is_read_once(each_runtime: Runtime) -> None:
    """Also one whose number is lower than what was read, because it was written later."""
    person = create_account(each_runtime, "bob", "Bob", "bob-secret")
    log = LaunchLog(each_runtime)
    for number, read in ((200, 1), (150, 1), (None, 0)):
        if number is not None:
            with each_runtime.database.transaction() as db:
                db.add(UserSession(id=number, user_id=person.user_id, environment="light", wish={}, pool="light-ral"))
        assert len(log.fresh()) == read
