"""Carries out the roll-out of images: one look and one step for each revision that is on its way, every pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, func, literal, select
from sqlalchemy.orm import Session

from broker import metrics
from broker.database import now
from broker.errors import WrongState
from broker.pools import images, rollout, stock
from broker.pools.images import TRIED, Image, ImageState
from broker.pools.models import COMING, LIVE, Machine, MachineState, move
from broker.pools.rollout import Fleet, Step
from broker.pools.standing import Standing
from broker.runtime import Runtime
from broker.settings import PoolSettings, Settings

M = MachineState
I = ImageState  # noqa: E741 - as M is MachineState


def advance(runtime: Runtime, clouds: Mapping[str, Standing]) -> None:
    """Take each revision that is on its way one step further; one whose cloud is out of service waits.

    An error of one holds up no other, nor the pools.
    """
    with runtime.database.reading() as db:
        newest = _newest(db)
        older = [image for image in _rolling(db) if image.state in TRIED and image not in newest.values()]
        held = _census(db) if newest else {}
    for image in older:
        with suppress(WrongState), runtime.database.transaction() as db:
            images.move(db, db.get_one(Image, image.id), I.RETIRED, reason="a newer revision is tried")
    for image in newest.values():
        if image.state == I.ACTIVE and image.everywhere_at and not _old_in(held, runtime.settings, image):
            continue
        if image.cloud not in clouds or not clouds[image.cloud].in_service:
            continue
        with metrics.swallowed("images"), suppress(WrongState), runtime.database.transaction() as db:
            _advance(db, runtime.settings, clouds, db.get_one(Image, image.id))


def _rolling(db: Session) -> list[Image]:
    return list(db.scalars(select(Image).where(Image.state.in_((*TRIED, I.ACTIVE))).order_by(Image.revision)))


def _newest(db: Session) -> dict[tuple[str, str], Image]:
    """By environment and cloud the newest revision that is tried or active: of several that are tried only this is."""
    return {(image.environment, image.cloud): image for image in _rolling(db)}


Census = dict[str, Counter[tuple[int | None, MachineState]]]


def _census(db: Session) -> Census:
    """For each pool, how many vacant and coming machines of each image it has: one query for all."""
    found: Census = {}
    rows = db.execute(
        select(Machine.pool, Machine.image, Machine.state, func.count())
        .where(Machine.state.in_((*COMING, M.VACANT)))
        .group_by(Machine.pool, Machine.image, Machine.state)
    )
    for pool, image, state, number in rows:
        found.setdefault(pool, Counter())[image, M(state)] = number
    return found


def _pools_of(settings: Settings, image: Image) -> list[PoolSettings]:
    mine = (image.environment, image.cloud)
    return [pool for pool in settings.pools.values() if (pool.environment, pool.cloud) == mine]


def _old(held: Counter[tuple[int | None, MachineState]], image: Image) -> int:
    return sum(number for (of, state), number in held.items() if state == M.VACANT and of != image.id)


def _old_in(held: Census, settings: Settings, image: Image) -> int:
    return sum(_old(held.get(pool.name, Counter()), image) for pool in _pools_of(settings, image))


@dataclass(frozen=True)
class _Berth:
    """A pool as a roll-out sees it; `machines` are its live ones."""

    pool: PoolSettings
    limit: int
    machines: list[Machine]

    @property
    def room(self) -> int:
        return max(0, self.limit - len(self.machines))

    def old(self, image: Image) -> list[Machine]:
        return [m for m in self.machines if m.state == M.VACANT and m.image != image.id]

    @property
    def vacant(self) -> int:
        return sum(m.state == M.VACANT for m in self.machines)


def _advance(db: Session, settings: Settings, clouds: Mapping[str, Standing], image: Image) -> None:
    berths = _berths(db, settings, image)
    if not berths:
        return
    batch = stock.free_builds(settings, stock.counts(db, settings.pools), clouds)[image.cloud]
    step = rollout.next_step(I(image.state), _fleet(db, settings, image, berths, batch))
    if step.after is I.REJECTED:
        _reject(db, image, step.reason)
    elif step.after is not None:
        _promote(db, image, step)
    if step.everywhere and image.everywhere_at is None:
        image.everywhere_at = now()
    _build(db, image, step, berths)
    _make_room(db, image, step, berths)


def _berths(db: Session, settings: Settings, image: Image) -> list[_Berth]:
    """The environment's pools in the cloud that serve."""
    wishes = stock.wishes_of_administrators(db)
    found = []
    for pool in _pools_of(settings, image):
        wish = wishes.get(pool.name)
        if stock.is_serving(wish):
            machines = list(db.scalars(select(Machine).where(Machine.pool == pool.name, Machine.state.in_(LIVE))))
            found.append(_Berth(pool, stock.target_and_limit(pool, wish)[1], machines))
    return found


def _fleet(db: Session, settings: Settings, image: Image, berths: list[_Berth], batch: int) -> Fleet:
    passed, failed, coming, vacant = _tally(db, settings, image)
    room = sum(berth.room for berth in berths)
    return Fleet(
        passed=passed,
        failed=failed,
        coming=coming,
        vacant=vacant,
        old=sum(len(berth.old(image)) for berth in berths),
        spare=sum(min(len(berth.old(image)), berth.vacant - 1) for berth in berths if berth.vacant),
        going=sum(machine.state == M.DELETING for berth in berths for machine in berth.machines),
        room=max(0, min(room, batch)),
        full=room == 0,
        proven=image.everywhere_at is not None,
    )


def _tally(db: Session, settings: Settings, image: Image) -> tuple[int, int, int, int]:
    """Of all machines that there ever were of the image: how many were vacant once, failed before that, come, and are
    vacant. One that failed because its cloud never gave it says nothing of the image; of a proven one only live ones
    count."""
    failed = and_(Machine.failure.is_not(None), Machine.vacant_at.is_(None), Machine.node_id.is_not(None))
    what = (Machine.vacant_at.is_not(None), failed, Machine.state.in_(COMING), Machine.state == M.VACANT)
    mine = [Machine.pool.in_([pool.name for pool in _pools_of(settings, image)]), Machine.image == image.id]
    if image.everywhere_at is not None:
        mine.append(Machine.state.in_(LIVE))
    found = db.execute(select(*(func.count().filter(each) for each in what)).where(*mine)).one()
    return found[0], found[1], found[2], found[3]


def _promote(db: Session, image: Image, step: Step) -> None:
    assert step.after is not None  # noqa: S101 - a promotion has its aim
    former = images.active(db, image.environment, image.cloud) if step.after is I.ACTIVE else None
    if former is None:
        images.move(db, image, step.after, reason=step.reason)
        return
    images.move(db, former, I.RETIRED, reason=f"revision {image.revision} took its place")
    images.move(db, image, step.after, reason=step.reason, former=former.id)


def _reject(db: Session, image: Image, reason: str) -> None:
    """Build from the former image again, and let go of this one's machines that nobody has."""
    failed = select(Machine.failure).where(Machine.image == image.id, Machine.failure.is_not(None))
    why = db.scalar(failed.order_by(Machine.id.desc())) or reason
    was_active = image.state == I.ACTIVE
    images.move(db, image, I.REJECTED, reason=f"{reason}: {why}", failure=why)
    former = db.get(Image, image.former) if was_active and image.former is not None else None
    if former is not None and former.state == I.RETIRED:
        images.move(db, former, I.ACTIVE, reason=f"revision {image.revision} was rejected")
    idle = select(Machine).where(Machine.image == image.id, Machine.state.in_((*COMING, M.VACANT)))
    for machine in list(db.scalars(idle)):
        with suppress(WrongState):
            move(db, machine, M.DELETING, reason=f"{image.name} was rejected")


def _build(db: Session, image: Image, step: Step, berths: list[_Berth]) -> None:
    """New rows of this image, where most is to be replaced first."""
    free = Counter({berth.pool.name: berth.room for berth in berths})
    order = sorted(berths, key=lambda berth: len(berth.old(image)), reverse=True)
    for _ in range(step.build):
        pool = next(berth.pool for berth in order if free[berth.pool.name] > 0)
        free[pool.name] -= 1
        stock.request(db, pool, image.id, f"{image.name}: {step.reason}")


def _make_room(db: Session, image: Image, step: Step, berths: list[_Berth]) -> None:
    spare = [machine for berth in berths if berth.vacant > 1 for machine in berth.old(image)]
    for machine in spare[: step.remove]:
        move(db, machine, M.DELETING, reason=f"makes room for {image.name}")


def without_replacements(
    db: Session, settings: Settings, held: Mapping[str, Counter[MachineState]]
) -> dict[str, Counter[MachineState]]:
    """The counts with replacements on their way as if they were going: they use the limit, and are no vacancy to come.

    Without this a pool would let a vacant machine go as soon as its replacement is begun.
    """
    shown = {name: Counter(counts) for name, counts in held.items()}
    newest = _newest(db)
    census = _census(db) if newest else {}
    for image in newest.values():
        for pool in _pools_of(settings, image):
            mine = census.get(pool.name, Counter())
            coming = [state for state in COMING for _ in range(mine[image.id, state])]
            for state in coming[: _old(mine, image)]:
                shown[pool.name][state] -= 1
                shown[pool.name][M.DELETING] += 1
    return shown


def spare_first(db: Session, pool: PoolSettings) -> ColumnElement[int]:
    """The order in which vacant machines go where there are too many: those of other images than today's first."""
    image = _newest(db).get((pool.environment, pool.cloud))
    return case((Machine.image == image.id, 1), else_=0) if image else literal(0)
