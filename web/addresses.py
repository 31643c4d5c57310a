"""What may stand in an address."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import IntegerConverter


class Id(IntegerConverter):
    """A row's id. Anything longer than nine digits is no address of ours, rather than too large for the database."""

    regex = r"\d{1,9}"


def register(app: Flask) -> None:
    """Let rules say `<id:session_id>`."""
    app.url_map.converters["id"] = Id
