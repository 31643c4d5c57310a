"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import Counter, disable_created_metrics
from redis.exceptions import RedisError

log = structlog.get_logger()

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double every counter, and say nothing that restarts do not
SWALLOWED = Counter("beamdesk_swallowed_errors", "Errors that a loop logged and went on after, by where.", ["where"])


@contextmanager
def swallowed(where: str) -> Iterator[None]:
    """For loops that must go on: an error inside is logged, counted under `where`, and left behind."""
    try:
        yield
    except Exception:
        SWALLOWED.labels(where).inc()
        log.exception("swallowed", where=where)


@contextmanager
def redis_may_be_away() -> Iterator[None]:
    """For queueing: Redis is a hint, and what could not be queued is queued by a later pass; logged and counted."""
    try:
        yield
    except RedisError as error:
        log.warning("redis.away", error=str(error))
        SWALLOWED.labels("redis").inc()
