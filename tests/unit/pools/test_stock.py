"""What pools offer, as the database and the settings say."""

from __future__ import annotations

from broker.pools import stock
from broker.pools.allocation import Wish, unmet
from broker.pools.models import CloudStanding, PoolMode
from broker.runtime import Runtime


def test_an_offer_says_how_its_cloud_stands(runtime: Runtime) -> None:
    """Faults make a pool less wanted; a cloud that is drained gives nothing."""
    with runtime.database.transaction() as db:
        db.add(CloudStanding(name="ral", faults=1))
        db.add(CloudStanding(name="dl", mode=PoolMode.DRAINING))
    with runtime.database.reading() as db:
        found = {offer.pool: offer for offer in stock.offers(db, runtime.settings, "light")}
    assert unmet(found["light-dl"], Wish("light")) == "cannot be used: its cloud is being drained"
    assert (found["light-ral"].health, unmet(found["light-ral"], Wish("light"))) == (0.5, None)


def test_an_offer_has_what_the_settings_say_of_its_pool_and_size(runtime: Runtime) -> None:
    """The GPU's model, the architecture, groups, cost, and whether it is pre-emptible."""
    pools = dict(runtime.settings.pools)
    pools["light-dl"] = pools["light-dl"].model_copy(update={"groups": ("few",), "cost": 0.5, "preemptible": True})
    settings = runtime.settings.model_copy(update={"pools": pools})
    with runtime.database.reading() as db:
        found = {offer.pool: offer for offer in stock.offers(db, settings, "light")}["light-dl"]
    assert (found.gpu_model, found.architecture) == ("Test GPU", "x86_64")
    assert (found.groups, found.cost, found.preemptible) == (("few",), 0.5, True)
