"""The API's description, finished: every error that a path may answer, and how one signs in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiflask import APIFlask

from broker.errors import PROBLEM, phrase
from broker.identity.rights import Right
from web import rights
from web.api.schemas import MOST_ID, Problem

DESCRIPTION = """Everything that the portal does, for programs.

Sign in at `/api/v1/sign-in` and send the token as `Authorization: Bearer …`. Errors are `application/problem+json`
(RFC 9457) with a `code` that stays the same and a `hint` of what to do. Times are told in UTC and taken in
any zone that they name; durations are seconds."""
SIGN_IN = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The token that sign-in answers."},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "beamdesk", "description": "For browsers."},
}
FIGURES = {"text/plain": {"schema": {"type": "string"}}}
ALWAYS = (400, 413, 500, 503)


def register(app: APIFlask) -> None:
    """Finish the description that APIFlask makes of the views."""
    app.description = DESCRIPTION
    app.spec_processor(lambda spec: finished(spec, rights.operations(app)))  # type: ignore[arg-type]


def finished(spec: dict[str, Any], needed: Mapping[tuple[str, str], Right | None]) -> dict[str, Any]:
    """The description with problems, security and names in place."""
    components = spec.setdefault("components", {})
    components["securitySchemes"] = SIGN_IN
    components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    spec["paths"]["/metrics"]["get"]["responses"]["200"] = {"description": "Figures", "content": FIGURES}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                _finish(operation, needed[path, method], changes=method != "get")
    for unused in ("HTTPError", "ValidationError"):
        components["schemas"].pop(unused, None)
    return spec


def _finish(operation: dict[str, Any], right: Right | None, *, changes: bool) -> None:
    for parameter in operation["parameters"]:
        if parameter["name"].endswith("_id"):
            parameter["schema"] = {"type": "integer", "minimum": 0, "maximum": MOST_ID}
    operation["security"] = [{"bearer": []}, {"cookie": []}] if right else []
    statuses = {int(status) for status in operation["responses"] if int(status) >= 400} | set(ALWAYS)
    if right:
        operation["x-right"] = right.value
        statuses |= {401, 403}
    elif changes:
        statuses |= {403}  # by another site's page
    for status in sorted(statuses):
        if str(status) in operation["responses"] and status == 503:  # health says by itself what it means
            continue
        operation["responses"][str(status)] = {
            "description": phrase(status),
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
