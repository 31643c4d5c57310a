"""The API's page, made from its description, and the errors' page, made from docs/errors.md; no foreign scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from apiflask import APIFlask
from flask import Blueprint, current_app, render_template

from broker.errors import phrase

blueprint = Blueprint("docs", __name__, url_prefix="/docs")
METHODS = ("get", "post", "put", "patch", "delete")
ERRORS = Path(__file__).parents[2] / "docs/errors.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| (\d{3}) \| (.+) \| (.+) \|$", re.MULTILINE)


class Explained(NamedTuple):
    """One line of docs/errors.md."""

    code: str
    status: int
    meaning: str
    advice: str


def explained() -> list[Explained]:
    """Every error that a user can see, as docs/errors.md explains it."""
    rows = ROW.findall(ERRORS.read_text(encoding="utf-8"))
    return [Explained(code, int(status), _plain(meaning), _plain(advice)) for code, status, meaning, advice in rows]


def _plain(words: str) -> str:
    return re.sub(r"[`*]", "", words)


@blueprint.get("/errors")
def errors() -> str:
    """Every error that a user can see."""
    return render_template("docs-errors.html", errors=explained(), phrase=phrase)


@blueprint.get("/api")
def api() -> str:
    """Every address of the API."""
    assert isinstance(current_app, APIFlask)  # noqa: S101 - create_app made it
    return render_template("docs-api.html", groups=_groups(current_app.spec))


def _groups(spec: dict[str, Any] | str) -> dict[str, list[dict[str, Any]]]:
    """The operations by tag, in the order of their registration."""
    groups: dict[str, list[dict[str, Any]]] = {}
    assert isinstance(spec, dict)  # noqa: S101 - ours is made as JSON
    for path, methods in spec["paths"].items():
        for method in METHODS:
            if method in methods:
                operation = {"method": method.upper(), "path": path, **methods[method]}
                groups.setdefault(operation["tags"][0], []).append(operation)
    return groups
