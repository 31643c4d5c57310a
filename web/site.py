"""What a request needs of this deployment, and who sent it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flask import Flask, current_app, g, request

from broker import events
from broker.errors import NotSignedIn
from broker.identity import service as identity
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.settings import Settings


class Launches(Protocol):
    """What prepares a session that has a machine: broker.sessions.launch.Launcher in a served process."""

    def start(self, session_id: int) -> None:
        """Prepare the session soon."""


@dataclass(frozen=True)
class Site:
    """One deployment, as the web side sees it."""

    runtime: Runtime
    launcher: Launches

    @property
    def settings(self) -> Settings:
        """The deployment's settings."""
        return self.runtime.settings

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the sign-in's token."""
        return self.settings.web.cookie

    @property
    def is_https(self) -> bool:
        """Whether people reach this deployment by https."""
        return self.settings.web.is_https


def attach(app: Flask, runtime: Runtime, launcher: Launches) -> None:
    """Give the application its deployment, whose settings are those of the moment at each request."""
    app.extensions["beamdesk"] = Site(runtime, launcher)
    app.before_request(lambda: events.came_from(request.remote_addr))
    app.teardown_request(lambda _: events.came_from_nowhere())
    app.before_request(runtime.reread)


def site() -> Site:
    """The deployment that this request is for."""
    found: Site = current_app.extensions["beamdesk"]
    return found


def bearer() -> str | None:
    """The token of an Authorization header, for programs."""
    sent = request.authorization
    return sent.token or "" if sent is not None and sent.type == "bearer" else None


def person() -> Person:
    """Who sent this request, or NotSignedIn. A program's token comes before a browser's cookie."""
    if "person" not in g:
        shown = bearer()
        token = request.cookies.get(site().cookie) if shown is None else shown
        if not token:
            raise NotSignedIn("You are not signed in.", hint="Sign in first.")
        g.person = identity.whose(site().runtime, token)
        events.came_by(g.person.shown(by_browser=shown is None))
    found: Person = g.person
    return found


def person_or_none() -> Person | None:
    """Who sent this request, if anybody who is signed in."""
    try:
        return person()
    except NotSignedIn:
        return None
