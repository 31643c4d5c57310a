"""Machines of a shared base, against a real database: who becomes what, and who may see them."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from broker.database import now
from broker.pools import overview, stock
from broker.pools.manager import PoolManager
from broker.pools.models import CloudStanding, Machine, MachineState, move
from broker.pools.standing import standings
from broker.runtime import Runtime
from broker.settings import PoolSettings, SharedBaseSettings

M = MachineState


@pytest.fixture
def manager(runtime: Runtime) -> PoolManager:
    """The pool light-ral (target 2) whose environment has a base; that has a pool of its own, with three vacant."""
    settings = runtime.settings
    settings.bases["shared"] = SharedBaseSettings(name="shared", title="Shared base", roles=("light",))
    settings.environments["light"] = settings.environments["light"].model_copy(update={"base": "shared", "roles": ()})
    settings.pools.clear()
    for name, environment, target in (("light-ral", "light", 2), ("shared-ral", "shared", 3)):
        settings.pools[name] = PoolSettings(
            name=name, environment=environment, size="small", cloud="ral", target=target, limit=6
        )
    add(runtime, *["shared-ral"] * 3)
    return PoolManager(runtime)


def add(runtime: Runtime, *pools: str, **values: object) -> None:
    """Vacant machines of these pools."""
    with runtime.database.transaction() as db:
        for name in pools:
            pool = runtime.settings.pools[name]
            known = {"environment": pool.environment, "size": pool.size, "cloud": pool.cloud, "state": M.VACANT}
            db.add(Machine(pool=name, attempt=0, vacant_at=now(), **{**known, **values}))


def fill(runtime: Runtime, manager: PoolManager) -> None:
    """One pass over the pools."""
    with runtime.database.reading() as db:
        clouds = standings(db, runtime.settings)
    manager._fill({}, clouds)


def machines(runtime: Runtime, pool: str) -> list[tuple[int, str, MachineState]]:
    with runtime.database.reading() as db:
        found = db.scalars(select(Machine).where(Machine.pool == pool).order_by(Machine.id))
        return [(machine.id, machine.environment, M(machine.state)) for machine in found]


def test_a_pool_that_is_short_takes_from_its_base_which_builds_new_ones(runtime: Runtime, manager: PoolManager) -> None:
    fill(runtime, manager)
    assert machines(runtime, "light-ral") == [(1, "light", M.CONFIGURING), (2, "light", M.CONFIGURING)]
    fill(runtime, manager)
    shared = machines(runtime, "shared-ral")
    assert [state for _, _, state in shared] == [M.VACANT, M.REQUESTED, M.REQUESTED]
    assert len(machines(runtime, "light-ral")) == 2


def test_a_machine_is_specialised_though_its_cloud_takes_no_build_just_now(
    runtime: Runtime, manager: PoolManager
) -> None:
    """A cloud whose quota is used up, or that is busy, is not asked for anything by it."""
    with runtime.database.transaction() as db:
        db.add(CloudStanding(name="ral", room_nodes=0))
    fill(runtime, manager)
    assert [state for _, _, state in machines(runtime, "light-ral")] == [M.CONFIGURING, M.CONFIGURING]
    assert [state for _, _, state in machines(runtime, "shared-ral")] == [M.VACANT]


def test_what_is_just_being_probed_or_in_another_size_stays(runtime: Runtime, manager: PoolManager) -> None:
    with runtime.database.transaction() as db:
        for machine in db.scalars(select(Machine)):
            machine.work_until = now().replace(year=now().year + 1)
    fill(runtime, manager)
    assert [state for _, _, state in machines(runtime, "light-ral")] == [M.REQUESTED, M.REQUESTED]


def test_a_base_is_nobodys_to_ask_for(runtime: Runtime, manager: PoolManager) -> None:
    with runtime.database.reading() as db:
        assert [offer.pool for offer in stock.offers(db, runtime.settings)] == ["light-ral"]
        assert stock.offers(db, runtime.settings, "shared") == []
        titles = {card.name: card.title for card in overview.pools(db, runtime.settings, {})}
    assert titles["shared-ral"] == "Shared base"


def test_the_past_of_both_pools_is_as_it_was(runtime: Runtime, manager: PoolManager) -> None:
    """A machine that changed its pool was one of the other before."""
    with runtime.database.transaction() as db:
        values = {"pool": "light-ral", "environment": "light"}
        move(db, db.get_one(Machine, 1), M.CONFIGURING, reason="in a test", **values)
    with runtime.database.reading() as db:
        light = overview.history(db, runtime.settings, "light-ral", 1)
        shared = overview.history(db, runtime.settings, "shared-ral", 1)
    assert (light.coming[0], light.coming[-1], light.vacant[0]) == (0, 1, 0)
    assert (shared.vacant[0], shared.vacant[-1]) == (3, 2)


def test_an_environments_roles_are_its_bases_and_its_own(runtime: Runtime, manager: PoolManager) -> None:
    settings = runtime.settings
    settings.environments["light"] = settings.environments["light"].model_copy(update={"roles": ("science",)})
    assert settings.roles_of("light") == ("light", "science")
    assert settings.roles_of("shared") == ("light",)
    assert settings.roles_of("science") == ("science",)
