"""/api/v1: one module per resource. What the portal can do, any program can."""

from __future__ import annotations

from apiflask import APIFlask

from web.api import (
    admin,
    audit,
    clouds,
    connections,
    courses,
    devices,
    document,
    environments,
    files,
    handovers,
    keys,
    machines,
    operations,
    pools,
    recordings,
    reservations,
    sessions,
    shares,
    sign_in,
    sign_ins,
    support,
    tokens,
)

ROOT = "/api/v1"


def register(app: APIFlask) -> None:
    """Serve all resources, and their description."""
    for resource in (
        sign_in,
        sign_ins,
        tokens,
        devices,
        environments,
        sessions,
        connections,
        files,
        keys,
        shares,
        support,
        handovers,
        recordings,
        courses,
    ):
        app.register_blueprint(resource.blueprint, url_prefix=ROOT)
    for resource in (admin, audit, clouds, pools, machines, reservations):
        app.register_blueprint(resource.blueprint, url_prefix=f"{ROOT}/admin")
    app.register_blueprint(operations.blueprint)
    document.register(app)
