"""A pool that is sized by demand, as administrators see it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from broker.database import now
from broker.pools import stock
from broker.pools.models import PoolDemand
from broker.runtime import Runtime
from tests.integration.web.conftest import AppWith, OpenAs
from tests.integration.web.served import serve

WHY = "8, because 5.2 launches an hour are expected and a build takes 11 min"


def test_the_dashboard_says_why_demand_keeps_so_many(runtime: Runtime, app_with: AppWith, open_as: OpenAs) -> None:
    """On its card, in words; with its goal in place of its target."""
    pools = dict(runtime.settings.pools)
    pools["light-ral"] = pools["light-ral"].model_copy(update={"sizing": "demand", "limit": 20})
    with runtime.database.transaction() as db:
        lead = 660.0
        db.add(
            PoolDemand(
                pool="light-ral", at=now(), launches=5.2 * lead / 3600, shape=4.0, seconds=lead, needed=8, kept=8.0
            )
        )
    with serve(app_with(pools=pools)) as address:
        page = open_as("ada", "/admin/", admin=True, at=f"http://{address}")
        card = page.locator("#pool-light-ral")
        expect(card).to_contain_text(WHY)
        expect(card).to_contain_text("0 vacant of 8")
        card.screenshot(path=Path("build/pictures/demand.png"))
        found = page.evaluate("fetch('/api/v1/admin/pools').then(answer => answer.json())")
    shown = next(pool for pool in found if pool["name"] == "light-ral")
    assert (shown["goal"], shown["target"], shown["sizing"]) == (8, 2, "demand")
    assert round(shown["launches_hourly"], 1) == 5.2


def test_vacancies_are_weighed_against_the_launches_that_are_expected(runtime: Runtime) -> None:
    """Of a pool that is sized by demand; of others nothing is known."""
    pools = dict(runtime.settings.pools)
    pools["light-ral"] = pools["light-ral"].model_copy(update={"sizing": "demand"})
    with runtime.database.transaction() as db:
        for name in ("light-ral", "light-dl"):
            db.add(PoolDemand(pool=name, at=now(), launches=3.5, shape=4.0, seconds=600, needed=8, kept=8.0))
    with runtime.database.reading() as db:
        offers = stock.offers(db, runtime.settings.model_copy(update={"pools": pools}), "light")
    assert {offer.pool: offer.demand for offer in offers} == {"light-ral": 3.5, "light-dl": 0.0}
