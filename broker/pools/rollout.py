"""How a new image comes into use. Pure: from a revision's state and its machines to the next step, and why.

One machine is built from it first; then a tenth of the vacant ones; then every vacant machine of another image is
replaced, each new one built before an old one goes. A machine of it that fails ends this, and the former image is
built from again. Acquired machines take no part in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from broker.pools.images import ImageState

I = ImageState  # noqa: E741 - as M is MachineState
SHARE = 0.1  # of the vacant machines that are of the new image before it is active


@dataclass(frozen=True)
class Fleet:
    """The machines of an environment in a cloud, over its pools that serve.

    Of the revision: `passed` were vacant once, `failed` never came so far, `coming` are on their way, `vacant` are so
    now. `old` are vacant ones of other images, of which `spare` can go without leaving a pool with none. `going` are
    being deleted. `room` is how many more may be built now; `full` says that only the pools' limits keep it at 0.
    """

    passed: int = 0
    failed: int = 0
    coming: int = 0
    vacant: int = 0
    old: int = 0
    spare: int = 0
    going: int = 0
    room: int = 0
    full: bool = False
    proven: bool = False  # every vacant machine was of it once


@dataclass(frozen=True)
class Step:
    """What to do: move the revision to `after`, build so many machines of it, remove so many vacant old ones. With
    `everywhere` it is proven from now on."""

    reason: str
    after: ImageState | None = None
    build: int = 0
    remove: int = 0
    everywhere: bool = False


def next_step(state: ImageState, fleet: Fleet) -> Step:
    """The next step of a revision that is being tried, or is active and not yet everywhere."""
    if state is I.BAKED:
        return Step("to be tried on one machine", after=I.CANARY)
    if fleet.failed and not fleet.proven:
        return Step(f"{fleet.failed} of its machines failed", after=I.REJECTED)
    if state is I.ACTIVE:
        return _replace(fleet)
    wanted = 1 if state is I.CANARY else max(1, math.ceil(SHARE * (fleet.old + fleet.vacant)))
    if fleet.passed >= wanted and fleet.coming == 0:
        after = I.PARTIAL if state is I.CANARY else I.ACTIVE
        return Step(f"{fleet.passed} of its machines passed", after=after)
    return _build(fleet, wanted - fleet.passed - fleet.coming, f"{fleet.passed} of {wanted} machines passed")


def _replace(fleet: Fleet) -> Step:
    if fleet.old == 0:
        return Step("every vacant machine is of it", everywhere=True)
    return _build(fleet, fleet.old - fleet.coming, f"{fleet.old} vacant machines to replace")


def _build(fleet: Fleet, missing: int, why: str) -> Step:
    build = max(0, min(missing, fleet.room))
    if missing > 0 and build == 0:
        make_room = fleet.full and fleet.spare > 0 and fleet.coming == fleet.going == 0
        return Step(f"{why}; waits for room", remove=1 if make_room else 0)
    return Step(why, build=build)
