"""For operators' tools: health, and figures for Prometheus."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, current_app, jsonify, make_response, request
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from broker.identity.rights import Right
from broker.sessions.timings import Figures
from web.api.schemas.operations import HealthOut
from web.rights import for_everybody, needs
from web.site import site

blueprint = APIBlueprint("operations", __name__, tag="Operation")


@blueprint.get("/healthz")
@blueprint.output(HealthOut)
@blueprint.doc(responses={503: "The database does not answer"})
@for_everybody
def health() -> Response:
    """Whether this process can serve

    200 where the database answers; Redis may be away, and is then shown as such.
    """
    found = HealthOut(database=_database_answers(), redis=_redis_answers())
    response = jsonify(found.model_dump())
    response.status_code = 200 if found.database else 503
    return response


def _is_from_this_host() -> bool:
    """From the loopback address, and not handed on by a proxy, which is on the loopback address too."""
    handed_on = {"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} & set(request.headers.keys())
    return request.remote_addr in ("127.0.0.1", "::1") and not handed_on


@blueprint.get("/metrics")
@needs(Right.LOOK, unless=_is_from_this_host)
def metrics() -> Response:
    """Figures for Prometheus

    For those who may look at everything, and for programs on this very host that come to this process directly.
    """
    registry: CollectorRegistry = current_app.extensions.setdefault("beamdesk-figures", _registry())
    return make_response(generate_latest(REGISTRY) + generate_latest(registry), {"Content-Type": CONTENT_TYPE_LATEST})


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Figures(site().runtime))
    return registry


def _database_answers() -> bool:
    try:
        with site().runtime.database.reading() as db:
            return db.execute(text("SELECT 1")).scalar() == 1
    except SQLAlchemyError:
        return False


def _redis_answers() -> bool:
    try:
        return bool(site().runtime.redis.ping())
    except (RedisError, OSError):
        return False
