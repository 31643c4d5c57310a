"""A roll-out against a real database: what the manager builds, removes and leaves alone."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.events import Event
from broker.pools import images, overview, rolling
from broker.pools.images import Image, ImageState
from broker.pools.manager import PoolManager
from broker.pools.models import COMING, Machine, MachineState, move
from broker.pools.rolling import advance
from broker.pools.standing import standings
from broker.runtime import Runtime
from broker.settings import Settings

M = MachineState
I = ImageState  # noqa: E741 - as M is MachineState


class World:
    """Pools of the environment light at Harwell (target 2, limit 6), and a cloud where all goes at once."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.manager = runtime, PoolManager(runtime)
        self.least_vacant = 99

    def bake(self, environment: str = "light") -> int:
        """A new revision; its row's number."""
        settings = self.runtime.settings
        with self.runtime.database.transaction() as db:
            revision = images.next_revision(db, environment, "ral")
            today = images.made_of_today(settings, environment, "ral", *images.model_of(settings, environment, "ral"))
            return images.add(db, environment, "ral", revision, f"i-{revision}", today).id

    def machines(self, *states: MachineState, pool: str = "light-ral") -> list[Machine]:
        """Those of the pool in these states."""
        with self.runtime.database.reading() as db:
            found = select(Machine).where(Machine.pool == pool, Machine.state.in_(states))
            return list(db.scalars(found.order_by(Machine.id)))

    def image(self, id_: int) -> Image:
        with self.runtime.database.reading() as db:
            return db.get_one(Image, id_)

    def tick(self, broken: int | None = None) -> None:
        """One pass; then what was begun is done, and machines of the image `broken` fail."""
        with self.runtime.database.reading() as db:
            clouds = standings(db, self.runtime.settings)
        advance(self.runtime, clouds)
        self.manager._fill({}, clouds)
        self.least_vacant = min(self.least_vacant, len(self.machines(M.VACANT)))
        for pool in self.runtime.settings.pools:
            self._go_on(pool, broken)

    def _go_on(self, pool: str, broken: int | None) -> None:
        for machine in self.machines(M.DELETING, pool=pool):
            self._to(machine.id, M.DELETED)
        for machine in self.machines(*COMING, pool=pool):
            for state in (M.BUILDING, M.PROVISIONED, M.CONFIGURING):
                self._to(machine.id, state, node_id=f"n-{machine.id}")
            if broken is not None and machine.image == broken:
                self._to(machine.id, M.FAILED, failure="The probe saw a blank screen.")
            else:
                self._to(machine.id, M.VACANT, vacant_at=machine.requested_at)

    def _to(self, id_: int, state: MachineState, **values: object) -> None:
        with self.runtime.database.transaction() as db:
            move(db, db.get_one(Machine, id_), state, reason="in a test", **values)

    def resize(self, **figures: int) -> None:
        """Give the pool these figures."""
        pools = self.runtime.settings.pools
        pools["light-ral"] = pools["light-ral"].model_copy(update=figures)

    def acquire(self, image: int | None = None) -> int:
        """Somebody takes the oldest vacant machine of this image."""
        id_ = next(machine.id for machine in self.machines(M.VACANT) if machine.image == image)
        self._to(id_, M.ACQUIRED)
        return id_

    def settle(self, broken: int | None = None) -> None:
        """Passes enough for anything."""
        for _ in range(12):
            self.tick(broken)


@pytest.fixture
def world(runtime: Runtime) -> World:
    made = World(runtime)
    made.settle()
    made.least_vacant = 99
    return made


def test_a_sound_image_replaces_every_vacant_machine_and_no_other(world: World) -> None:
    """The pool has its target vacant all the time, and whoever has a machine keeps it."""
    taken = world.acquire()
    world.settle()
    world.least_vacant = 99
    first = world.bake()
    world.settle()
    assert world.image(first).state == I.ACTIVE
    assert [machine.image for machine in world.machines(M.VACANT)] == [first, first]
    assert world.least_vacant == 2
    assert [machine.id for machine in world.machines(M.ACQUIRED)] == [taken]
    second = world.bake()
    world.settle()
    assert (world.image(first).state, world.image(second).state) == (I.RETIRED, I.ACTIVE)
    assert [machine.image for machine in world.machines(M.VACANT)] == [second, second]
    assert world.least_vacant == 2


def test_one_machine_is_built_of_a_new_image_before_any_other(world: World) -> None:
    id_ = world.bake()
    world.tick()
    assert world.image(id_).state == I.CANARY
    world.tick()
    assert Counter(machine.image for machine in world.machines(M.VACANT)) == {None: 2, id_: 1}


def test_an_image_whose_machine_fails_is_rejected_and_the_former_is_built_from_again(world: World) -> None:
    """Whoever has a machine of it keeps that one; the audit log and the pool's card say what happened."""
    good = world.bake()
    world.settle()
    bad = world.bake()
    world.settle(broken=bad)
    assert (world.image(good).state, world.image(bad).state) == (I.ACTIVE, I.REJECTED)
    assert world.image(bad).failure == "The probe saw a blank screen."
    assert [machine.image for machine in world.machines(M.VACANT)] == [good, good]
    assert world.least_vacant == 2
    with world.runtime.database.reading() as db:
        told = list(db.scalars(select(Event.action).where(Event.kind == "image", Event.subject == str(bad))))
        card = next(card for card in overview.pools(db, world.runtime.settings, {}) if card.name == "light-ral")
    assert told == ["image:baked", "image:canary", "image:rejected"]
    assert "Image revision 2 was rejected: The probe saw a blank screen." in card.image


def test_an_image_that_fails_while_it_comes_everywhere_gives_its_place_back(world: World) -> None:
    """Its vacant machines go; the one that somebody has stays."""
    world.resize(target=3, limit=6)
    good = world.bake()
    world.settle()
    bad = world.bake()
    while world.image(bad).state != I.ACTIVE:
        world.tick()
    assert Counter(machine.image for machine in world.machines(M.VACANT)) == {good: 2, bad: 1}
    taken = world.acquire(bad)
    world.settle(broken=bad)
    assert (world.image(good).state, world.image(bad).state) == (I.ACTIVE, I.REJECTED)
    assert {machine.image for machine in world.machines(M.VACANT)} == {good}
    assert [machine.id for machine in world.machines(M.ACQUIRED)] == [taken]


def test_an_image_that_was_everywhere_is_not_rejected_for_a_machine_that_fails_later(world: World) -> None:
    """Though vacant machines of another image turn up, as when a newer revision is taken out of use."""
    proven = world.bake()
    world.settle()
    world.acquire(proven)
    world.tick(broken=proven)
    assert len(world.machines(M.FAILED)) == 1
    with world.runtime.database.transaction() as db:
        db.get_one(Machine, world.machines(M.VACANT)[0].id).image = None
    world.settle()
    assert world.image(proven).state == I.ACTIVE
    assert {machine.image for machine in world.machines(M.VACANT)} == {proven}


def test_an_image_that_cannot_be_rolled_out_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the pools: what nobody thought of happens to one alone."""
    broken, sound = world.bake(), world.bake("science")
    step = rolling._advance

    def fails(db: Session, settings: Settings, clouds: object, image: Image) -> None:
        if image.id == broken:
            raise RuntimeError("nobody thought of this")
        step(db, settings, clouds, image)  # type: ignore[arg-type]

    monkeypatch.setattr(rolling, "_advance", fails)
    world.settle()
    assert (world.image(broken).state, world.image(sound).state) == (I.BAKED, I.ACTIVE)


def test_only_the_newest_of_several_revisions_is_tried(world: World) -> None:
    older, newer = world.bake(), world.bake()
    world.settle()
    assert (world.image(older).state, world.image(newer).state) == (I.RETIRED, I.ACTIVE)
    assert not any(machine.image == older for machine in world.machines(*M))


def test_a_pool_that_is_full_makes_room_and_never_runs_empty(world: World) -> None:
    """At its limit nothing can be built before something goes: one goes, while another waits."""
    world.resize(limit=2)
    id_ = world.bake()
    for _ in range(40):
        world.tick()
    assert world.image(id_).state == I.ACTIVE
    assert [machine.image for machine in world.machines(M.VACANT)] == [id_, id_]
    assert world.least_vacant == 1


def test_a_full_pool_with_one_machine_keeps_it_while_another_makes_room(world: World) -> None:
    """Which has the next one vacant meanwhile."""
    pools = world.runtime.settings.pools
    pools["light-more"] = pools["light-ral"].model_copy(update={"name": "light-more", "limit": 2})
    world.resize(target=1, limit=1)
    world.settle()
    world.least_vacant = 99
    id_ = world.bake()
    for _ in range(30):
        world.tick()
    assert world.least_vacant == 1
    assert [machine.image for machine in world.machines(M.VACANT, pool="light-more")] == [id_, id_]
