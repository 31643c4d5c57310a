"""The live dashboard of administrators, and the audit log."""

from __future__ import annotations

from flask import Flask

from web.admin import audit, pages


def register(app: Flask) -> None:
    """Serve both."""
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(audit.blueprint)
