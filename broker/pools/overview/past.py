"""What happened: a pool's last hours, and the audit log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.database import now
from broker.errors import NotFound
from broker.events import Event
from broker.pools import stock
from broker.pools.models import COMING, MachineState
from broker.settings import Settings

M = MachineState
MOST_EVENTS = 20_000


@dataclass(frozen=True)
class History:
    """How many machines of a pool were in which state, at moments in Unix seconds: the steps of a graph."""

    at: list[float]
    vacant: list[int]
    coming: list[int]
    acquired: list[int]
    failed: list[int]


def history(db: Session, settings: Settings, pool: str, hours: float) -> History:
    """The pool's last hours, walked back from its present counts along the audit log: nothing is sampled.

    Where more happened than is looked at, it begins later.
    """
    if pool not in settings.pools:
        raise NotFound(f"There is no pool {pool[:40]!r}.", hint=f"There are: {', '.join(settings.pools) or 'none'}.")
    moment = now()
    held = stock.counts(db, [pool])[pool]
    of_pool = (Event.kind == "machine", Event.detail["pool"].as_string() == pool)
    moves = db.execute(
        select(Event.at, Event.action, Event.detail)
        .where(Event.at > moment - timedelta(hours=hours), *of_pool)
        .order_by(Event.at.desc(), Event.id.desc())
        .limit(MOST_EVENTS)
    ).all()
    since = moves[-1].at if len(moves) == MOST_EVENTS else moment - timedelta(hours=hours)
    steps = [(at, action.removeprefix("machine:"), detail.get("before")) for at, action, detail in moves]
    return _walk_back(held, steps, since, moment)


def _walk_back(
    held: Counter[MachineState], moves: Iterable[tuple[datetime, str, str | None]], since: datetime, moment: datetime
) -> History:
    """From the counts now and the moves, the newest first, to the counts at each moment, the oldest first."""
    counts = Counter({str(state): number for state, number in held.items()})
    points = [(moment.timestamp(), _groups(counts))]
    for at, after, before in moves:
        points.append((at.timestamp(), _groups(counts)))
        counts[after] -= 1
        if before is not None:
            counts[before] += 1
    points.append((since.timestamp(), _groups(counts)))
    points.reverse()
    vacant, coming, acquired, failed = ([groups[i] for _, groups in points] for i in range(4))
    return History([round(at, 1) for at, _ in points], vacant, coming, acquired, failed)


def _groups(counts: Mapping[str, int]) -> tuple[int, int, int, int]:
    coming = sum(counts.get(state, 0) for state in COMING)
    groups = (counts.get(M.VACANT, 0), coming, counts.get(M.ACQUIRED, 0), counts.get(M.FAILED, 0))
    return tuple(max(0, number) for number in groups)  # type: ignore[return-value]


def recent_events(db: Session, *, limit: int) -> list[Event]:
    """The newest rows of the audit log."""
    return list(db.scalars(select(Event).order_by(Event.id.desc()).limit(limit)))
