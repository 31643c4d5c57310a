"""Which right each operation needs. An operation of the API that does not say so stops the start.

The mark stands at the view, is asked before anything of the request is read, and is in the API's description.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, current_app, request

from broker.identity.rights import Right
from web.site import person

View = TypeVar("View", bound=Callable[..., Any])
API = "/api/"
DESCRIPTION = "openapi.spec"  # the endpoint of the API's description, which anybody may read
ARGUMENT = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")


@dataclass(frozen=True)
class Need:
    """What a view needs: a right, or None where it is for everybody; nothing of requests for which `unless` is true."""

    right: Right | None
    unless: Callable[[], bool] = lambda: False


def needs(right: Right, *, unless: Callable[[], bool] = lambda: False) -> Callable[[View], View]:
    """Mark the view as one for those who have this right."""
    return _marked(Need(right, unless))


def for_everybody(view: View) -> View:
    """Mark the view as one that needs no sign-in."""
    return _marked(Need(None))(view)


def _marked(need: Need) -> Callable[[View], View]:
    def mark(view: View) -> View:
        view.need = need  # type: ignore[attr-defined]
        return view

    return mark


def register(app: Flask) -> None:
    """Ask for the right before each request."""
    app.before_request(check)


def check() -> None:
    """Raise NotSignedIn or Forbidden unless who asks has the right that the operation needs."""
    need = _need(current_app, request.endpoint)
    if need is not None and need.right is not None and not need.unless():
        person().must(need.right)


def operations(app: Flask) -> dict[tuple[str, str], Right | None]:
    """What each operation of the API needs, by path and method as its description has them; None: no sign-in.

    LookupError names those that do not say.
    """
    found = dict(_served(app))
    if missing := [f"{method} {path}" for (path, method), need in found.items() if need is None]:
        raise LookupError(f"no right is named for: {', '.join(missing)}")
    return {operation: need.right for operation, need in found.items() if need is not None}


def _served(app: Flask) -> Iterator[tuple[tuple[str, str], Need | None]]:
    for rule in app.url_map.iter_rules():
        need = _need(app, rule.endpoint)
        if need is not None or (rule.rule.startswith(API) and rule.endpoint != DESCRIPTION):
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield (ARGUMENT.sub(r"{\1}", rule.rule), method.lower()), need


def _need(app: Flask, endpoint: str | None) -> Need | None:
    return getattr(app.view_functions.get(endpoint or ""), "need", None)
