"""docs/api.md says what the API is."""

from __future__ import annotations

import re
from pathlib import Path

from apiflask import APIFlask
from flask.testing import FlaskClient

TEXT = (Path(__file__).parents[3] / "docs/api.md").read_text()
ROW = re.compile(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/\S+)` \|", re.MULTILINE)


def test_every_address_of_the_api_is_documented_and_nothing_else(app: APIFlask) -> None:
    """One row for each operation."""
    spec = app.test_client().get("/api/v1/openapi.json").json
    served = {(m.upper(), path) for path, methods in spec["paths"].items() for m in methods if m != "parameters"}
    assert set(ROW.findall(TEXT)) == served


def test_the_errors_of_an_address_are_those_that_the_api_says(app: APIFlask) -> None:
    """Programs are written by either of the two descriptions."""
    paths = app.test_client().get("/api/v1/openapi.json").json["paths"]
    rows = re.findall(r"^\| `([A-Z]+) (/api/\S+)` \| .* \| ([\d, ]*)\|$", TEXT, re.MULTILINE)
    assert len(rows) > 25
    for method, path, errors in rows:
        named = set(re.findall(r"\d+", errors))
        assert named <= set(paths[path][method.lower()]["responses"]), f"{method} {path}"


def test_every_figure_is_documented(admin: FlaskClient, ready_session: int) -> None:
    """By the name that Prometheus sees."""
    names = set(re.findall(r"^# TYPE (beamdesk_\S+)", admin.get("/metrics").text, re.MULTILINE))
    assert len(names) >= 6
    assert {name for name in names if name not in TEXT} == set()
