"""Pages for users."""

from __future__ import annotations

from flask import Flask

from web.portal import account, courses, desktop, docs, keys, my_account, openid, pages, sharing


def register(app: Flask) -> None:
    """Serve the pages."""
    app.context_processor(pages.around_every_page)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(openid.blueprint)
    app.register_blueprint(my_account.blueprint)
    app.register_blueprint(account.blueprint)
    app.register_blueprint(courses.blueprint)
    app.register_blueprint(desktop.blueprint)
    app.register_blueprint(keys.blueprint)
    app.register_blueprint(docs.blueprint)
    app.register_blueprint(sharing.blueprint)
