"""How long machines take from their request to vacant, as it was measured: what estimates and sizing go by."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from broker.pools.models import BuildTime

RECENT = 20  # of each pool so many are kept
UNKNOWN = 600.0  # seconds: presumed of a pool that never built a machine


def note(db: Session, pool: str, seconds: float) -> None:
    """One more was built; what is older than the recent ones is forgotten."""
    db.add(BuildTime(pool=pool, seconds=seconds))
    db.flush()
    kept = select(BuildTime.id).where(BuildTime.pool == pool).order_by(BuildTime.id.desc()).offset(RECENT).limit(1)
    old = (BuildTime.pool == pool, BuildTime.id <= kept.scalar_subquery())
    db.execute(delete(BuildTime).where(*old).execution_options(synchronize_session=False))


def recent(db: Session, pools: Iterable[str]) -> dict[str, list[float]]:
    """How long the last machines of each pool took, in seconds, the newest first; one query for all."""
    found: dict[str, list[float]] = {name: [] for name in pools}
    rows = db.execute(
        select(BuildTime.pool, BuildTime.seconds).where(BuildTime.pool.in_(found)).order_by(BuildTime.id.desc())
    )
    for pool, seconds in rows:
        found[pool].append(seconds)
    return {pool: times[:RECENT] for pool, times in found.items()}


def medians(db: Session, pools: Iterable[str]) -> dict[str, float]:
    """What a user who waits is told, in seconds; without the pools that never built a machine."""
    return {pool: sorted(times)[len(times) // 2] for pool, times in recent(db, pools).items() if times}


def means(db: Session, pools: Iterable[str]) -> dict[str, float]:
    """What sizing asks for, in seconds."""
    return {pool: sum(times) / len(times) if times else UNKNOWN for pool, times in recent(db, pools).items()}
