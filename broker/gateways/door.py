"""Who may open which desktop: websockify's auth plugin and token plugin, which are one here.

A browser must show a page of ours (Origin) and the cookie of the very sign-in that the ticket was issued to; a
program, which sends no Origin, shows that sign-in's token in an Authorization header instead. So a ticket that
leaked opens nothing, and another site's page opens nothing with a visitor's cookie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from agents.protocol import VNC_DOOR
from broker import events
from broker.connections.models import Way
from broker.errors import NotSignedIn, WrongOrigin
from broker.gateways import register
from broker.gateways.processes import take_name
from broker.gateways.register import Visitor
from broker.identity.service import Person, whose
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.service import Desktop
from broker.settings import Settings


class Door:
    """The gateway's door. It is used once in each clerk's own process, so it may remember who came."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.client = ""
        self.way = Way.BROWSER
        self.carrier = 0  # the process that will carry the desktop
        self.name_carrier: Callable[[int], None] = take_name
        self.person: Person | None = None
        self.desktop: Desktop | None = None

    def authenticate(self, headers: Any, target_host: str | None, target_port: int | None) -> None:
        """The auth plugin: raise WrongOrigin or NotSignedIn, or know who comes."""
        origin, settings = headers.get("Origin"), self._runtime.settings
        if not all(is_ours(each, headers.get("Host", ""), settings) for each in headers.get_all("Origin", [])):
            raise WrongOrigin("Another site's page may not open desktops.", hint="Open the desktop from the portal.")
        token = _bearer(headers) if origin is None else _cookie(headers, settings)
        if not token:
            raise NotSignedIn("Nobody is signed in here.", hint="Sign in to the portal first.")
        self.person = whose(self._runtime, token)
        events.came_by(self.person.shown(by_browser=origin is not None))

    def lookup(self, token: str) -> tuple[str, int]:
        """The token plugin: use the ticket up; where the machine's VNC server is."""
        if self.person is None:
            raise NotSignedIn("Nobody is signed in here.")
        with self._runtime.database.transaction() as db:
            self.desktop = service.redeem(db, self._runtime.settings, self.person, token, self.way)
            self.write_down(db, self.desktop)
        return self.desktop.address, VNC_DOOR

    def write_down(self, db: Session, desktop: Desktop) -> None:
        """The connection's row."""
        visitor = Visitor(self.client, self.carrier, self.name_carrier)
        register.enter(db, desktop, self.way, visitor, self._runtime.settings.gateway.connections_per_session)


def is_ours(origin: str, host: str, settings: Settings) -> bool:
    """Whether a page of this Origin is the portal's: its public address, or its port on the very host that was asked
    (which is how http://127.0.0.1:8080 reaches ws://127.0.0.1:6080 where the public address says localhost)."""
    if origin == settings.web.public_url:
        return True
    try:
        public, page = urlsplit(settings.web.public_url), urlsplit(origin)
        same_host = page.hostname is not None and page.hostname == urlsplit(f"//{host}").hostname
        return same_host and (page.scheme, page.port) == (public.scheme, public.port)
    except ValueError:  # no address, or no port number
        return False


def _bearer(headers: Any) -> str:
    kind, _, token = str(headers.get("Authorization", "")).partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _cookie(headers: Any, settings: Settings) -> str:
    """The sign-in's token. Read by hand: http.cookies drops all cookies where another program's is malformed."""
    pairs = (pair.strip().partition("=") for pair in str(headers.get("Cookie", "")).split(";"))
    return next((value.strip('"') for name, _, value in pairs if name == settings.web.cookie), "")
