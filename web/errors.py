"""The one place where an error becomes an answer: problem+json (RFC 9457) for programs, a page for people.

Nothing of the inside is shown: an unexpected error gets an id that stands in the log beside its traceback.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus

import structlog
from apiflask import APIFlask
from apiflask.exceptions import HTTPError
from flask import Response, jsonify, make_response, redirect, render_template, request, url_for
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from broker.errors import PROBLEM, BodyTooLarge, BrokerError, InvalidRequest, NotFound, NotSignedIn, ServiceDown, phrase

log = structlog.get_logger()


class NotAllowed(BrokerError):
    """Raised when an address does not take this method."""

    status, code = 405, "method-not-allowed"


class BadRequest(BrokerError):
    """Raised when a request cannot be read: no JSON where JSON is needed, a header that makes no sense."""

    status, code = 400, "bad-request"


class Unexpected(BrokerError):
    """Raised for what should not happen; its `id` stands in the log."""

    status, code = 500, "unexpected"


def register(app: APIFlask) -> None:
    """Let these handlers see every error of the application."""
    app.register_error_handler(BrokerError, answer)
    app.register_error_handler(HTTPError, refused_by_schema)
    app.register_error_handler(HTTPException, refused_by_http)
    app.register_error_handler(OperationalError, database_down)
    app.register_error_handler(PoolTimeout, database_down)
    app.register_error_handler(Exception, unexpected)


def answer(error: BrokerError) -> Response:
    """The error as the caller can use it."""
    if is_for_programs():
        return problem(error)
    if isinstance(error, NotSignedIn) and request.endpoint != "portal.sign_in":
        return _to_sign_in()
    return make_response(render_template("error.html", error=error, phrase=phrase(error.status)), error.status)


def is_for_programs() -> bool:
    """Whether the caller wants JSON."""
    return request.path.startswith("/api/") or request.path in ("/metrics", "/healthz") or request.blueprint == "vmm"


def problem(error: BrokerError) -> Response:
    """The error as problem+json."""
    response = jsonify(error.problem())
    response.status_code = error.status
    response.mimetype = PROBLEM
    if "retry_after" in error.facts:
        response.headers["Retry-After"] = str(error.facts["retry_after"])
    return response


def _to_sign_in() -> Response:
    """The sign-in page; htmx is told to go there rather than to show it inside a page."""
    if request.headers.get("HX-Request"):
        return make_response("", HTTPStatus.UNAUTHORIZED)
    wanted = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return make_response(redirect(url_for("portal.sign_in", next=wanted)))


def refused_by_schema(error: HTTPError) -> Response:
    """A body or query that does not fit its schema; `errors` names each wrong field."""
    fields = {name: words for where in error.detail.values() for name, words in where.items()}
    told = "; ".join(f"{name}: {' '.join(words)}" for name, words in fields.items())
    return answer(InvalidRequest(f"This request has mistakes. {told}", hint="Mend these fields.", errors=fields))


def refused_by_http(error: HTTPException) -> Response:
    """What Flask itself refuses, in our form. Redirects are no errors and pass."""
    status = error.code or 500
    if status < 400:
        return make_response(error.get_response())
    known: dict[int, BrokerError] = {
        404: NotFound("There is nothing at this address.", hint="Check the address, or begin at the start page."),
        405: NotAllowed(f"This address does not take {request.method}.", hint="See the API's description."),
        413: BodyTooLarge("This request is larger than any that Beamdesk needs.", hint="Send at most 64 kB."),
    }
    response = answer(known.get(status) or BadRequest(error.description or error.name, hint="Check the request."))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def database_down(error: Exception) -> Response:
    """The database does not answer: nothing was changed, and it may be back soon."""
    id_ = _note(error)
    return answer(
        ServiceDown("The database does not answer. Nothing was changed.", hint="Try again in a moment.", id=id_)
    )


def unexpected(error: Exception) -> Response:
    """A fault of ours."""
    hint = "Try again. If it happens again, tell the operators this number."
    id_ = _note(error)
    return answer(Unexpected(f"Something went wrong on our side (error {id_}).", hint=hint, id=id_))


def _note(error: Exception) -> str:
    id_ = secrets.token_hex(4)
    log.error("request.failed", id=id_, method=request.method, path=request.path, exc_info=error)
    return id_
