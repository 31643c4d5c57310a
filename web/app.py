"""The application: registers its parts and does nothing else."""

from __future__ import annotations

from apiflask import APIFlask
from werkzeug.middleware.proxy_fix import ProxyFix

from broker.runtime import Runtime
from web import (
    addresses,
    admin,
    api,
    assets,
    errors,
    limits,
    live,
    pictures,
    portal,
    rights,
    security,
    site,
    vmm,
    words,
)

MOST_BYTES = 64 * 1024  # no request of ours needs more


def create_app(runtime: Runtime, launcher: site.Launches) -> APIFlask:
    """The whole web side of one deployment."""
    app = APIFlask(
        __name__,
        title="Beamdesk",
        version="1",
        spec_path="/api/v1/openapi.json",
        docs_path=None,
        json_errors=False,
        static_folder=str(assets.FOLDER),
        static_url_path=assets.address(),
    )
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = assets.KEEP_SECONDS
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]
    for part in (addresses, errors, security, limits, rights, words, pictures, api, portal, admin):
        part.register(app)
    site.attach(app, runtime, launcher)
    vmm.attach(app, runtime.settings.vmm)
    live.attach(app, runtime)
    rights.operations(app)  # each says what it needs, or nothing starts
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=runtime.settings.web.proxies, x_proto=0, x_host=0)  # type: ignore[method-assign]
    return app
