"""The web process: gunicorn loads `wsgi:app`."""

from __future__ import annotations

from broker import logs, pauses
from broker.runtime import current
from broker.sessions.launch import Launcher
from web.app import create_app

logs.configure()
app = create_app(current(), Launcher(current()))
pauses.shorten()
