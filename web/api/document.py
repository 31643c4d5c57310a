"""The API's description, finished: every error that a path may answer, and how one signs in."""

from __future__ import annotations

from typing import Any

from apiflask import APIFlask

from broker.errors import PROBLEM, phrase
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
OPEN = ("/healthz", "/api/v1/sign-in", "/api/v1/sign-out")  # for everybody
ALWAYS = (400, 413, 500, 503)


def register(app: APIFlask) -> None:
    """Finish the description that APIFlask makes of the views."""
    app.description = DESCRIPTION
    app.spec_processor(finished)  # type: ignore[arg-type]  # a dict, as our spec is JSON


def finished(spec: dict[str, Any]) -> dict[str, Any]:
    """The description with problems, security and names in place."""
    components = spec.setdefault("components", {})
    components["securitySchemes"] = SIGN_IN
    components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    spec["paths"]["/metrics"]["get"]["responses"]["200"] = {"description": "Figures", "content": FIGURES}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                _finish(path, method, operation)
    for unused in ("HTTPError", "ValidationError"):
        components["schemas"].pop(unused, None)
    return spec


def _finish(path: str, method: str, operation: dict[str, Any]) -> None:
    for parameter in operation["parameters"]:
        if parameter["name"].endswith("_id"):
            parameter["schema"] = {"type": "integer", "minimum": 0, "maximum": MOST_ID}
    needs_person = path not in OPEN
    operation["security"] = [{"bearer": []}, {"cookie": []}] if needs_person else []
    statuses = {int(status) for status in operation["responses"] if int(status) >= 400} | set(ALWAYS)
    if needs_person:
        statuses |= {401}
    if method != "get" or path.startswith("/api/v1/admin") or path == "/metrics":
        statuses |= {403}
    for status in sorted(statuses):
        if path == "/healthz" and status == 503:
            continue
        operation["responses"][str(status)] = {
            "description": phrase(status),
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
