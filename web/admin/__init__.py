"""The live dashboard of administrators."""

from __future__ import annotations

from flask import Flask

from web.admin import pages


def register(app: Flask) -> None:
    """Serve the dashboard."""
    app.register_blueprint(pages.blueprint)
