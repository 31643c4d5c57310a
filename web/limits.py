"""How often one may ask: each person, or each address where nobody is signed in. Far more often than pages do."""

from __future__ import annotations

from flask import Flask, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from broker.errors import TooManyAttempts
from broker.identity.guessing import neighbourhood
from web.site import person_or_none, site
from web.visitors import came_from

UNLIMITED = frozenset({"static", "operations.health"})


def register(app: Flask) -> None:
    """Count every request in this process's memory, and refuse those that are too many."""
    limiter = FixedWindowRateLimiter(MemoryStorage())
    app.before_request(lambda: refuse_flood(limiter))


def refuse_flood(limiter: FixedWindowRateLimiter) -> None:
    """Raise TooManyAttempts beyond `web.requests_per_minute`."""
    most = site().settings.web.requests_per_minute
    if request.endpoint not in UNLIMITED and not limiter.hit(RateLimitItemPerMinute(most), _who()):
        raise TooManyAttempts(
            f"There were more than {most} requests within a minute.", hint="Ask less often.", retry_after=60
        )


def _who() -> str:
    who = person_or_none()
    return f"user {who.user_id}" if who is not None else f"address {neighbourhood(came_from().address)}"
