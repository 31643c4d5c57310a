"""Live pages: Socket.IO tells open pages what changed, and they fetch it afresh.

Each socket takes a thread for as long as it is open, so a guard before the upgrade lets in signed-in people only,
and no more of them than leaves threads for pages; a page that gets no socket asks every few seconds instead.
A pulse goes through Redis to every page: one that no longer hears it asks by itself, whatever was lost on the way.
Each second the sockets are closed whose sign-in has ended, or whose owner has another role by now.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import socketio
import structlog
from flask import Flask, current_app, request
from flask_socketio import SocketIO, join_room
from sqlalchemy import select
from werkzeug.http import parse_cookie

from broker.database import now
from broker.errors import BrokerError
from broker.identity import service as identity
from broker.identity.models import SignIn, User
from broker.identity.rights import Right, Role
from broker.identity.service import Person
from broker.metrics import swallowed
from broker.runtime import Runtime
from web.security import is_own_origin
from web.site import Site

log = structlog.get_logger()

PULSE_EVERY = 5.0  # seconds; pages give up on a socket that misses two
LOOK_EVERY = 1.0  # seconds between looks at whose sign-in has ended
PATH = "/socket.io/"
ROOM = re.compile(r"^sign-in-(\d+)-(\w+)$")
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def attach(app: Flask, runtime: Runtime) -> None:
    """Serve Socket.IO beside the application, behind the guard."""
    manager = socketio.RedisManager(runtime.settings.redis_url, channel=runtime.live_channel)
    sockets = SocketIO(
        app,
        async_mode="threading",
        transports=["websocket"],
        client_manager=manager,
        cors_allowed_origins="*",  # the guard has checked the origin already
        ping_interval=20,
        ping_timeout=10,
    )
    pulse = Pulse(sockets.server, runtime)
    sockets.on_event("connect", lambda *_: _connected(pulse))
    app.wsgi_app = Guard(app.wsgi_app, app.extensions["beamdesk"])  # type: ignore[method-assign]
    app.extensions["beamdesk-sockets"] = sockets.server


def _connected(pulse: Pulse) -> None:
    who: Person = request.environ["beamdesk.person"]
    own = (f"user-{who.user_id}", _room(who.sign_in_id, who.role))
    for room in ("everyone", *own, *(["admins"] if who.may(Right.LOOK) else [])):
        join_room(room)
    pulse.begin()  # which ends where it finds nobody in a room


def _room(sign_in_id: int | None, role: str) -> str:
    """Where the sockets are that were opened by this sign-in, in this role."""
    return f"sign-in-{sign_in_id}-{role}"


def drop(sign_in_id: int | None) -> None:
    """Close the sockets of this sign-in that this process holds; other processes close theirs within a second."""
    for role in Role:
        _drop(current_app.extensions["beamdesk-sockets"], sign_in_id, role)


def _drop(server: Any, sign_in_id: int | None, role: str) -> None:
    for sid, _ in list(server.manager.get_participants("/", _room(sign_in_id, role))):
        server.disconnect(sid)


class Pulse:
    """While there are sockets: says again and again that pages are live, and closes what has lost its sign-in."""

    def __init__(self, server: Any, runtime: Runtime) -> None:
        self._server, self._runtime = server, runtime
        self._through_redis = socketio.RedisManager(
            runtime.settings.redis_url, channel=runtime.live_channel, write_only=True
        )  # the server's own manager would hand the pulse to its pages without asking Redis
        self._begun = threading.Lock()

    def begin(self) -> None:
        """Start, unless it runs already."""
        if self._begun.acquire(blocking=False):
            threading.Thread(target=self._run, name="live-pulse", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._beat_on()
            self._begun.release()
            if not _anybody(self._server) or not self._begun.acquire(blocking=False):
                return  # or a socket came while it ended, and nobody else has begun for it

    def _beat_on(self) -> None:
        """Until there is no socket."""
        beat_at = float("-inf")
        while _anybody(self._server):
            with swallowed("live-look"):
                self.look()
            if time.monotonic() - beat_at >= PULSE_EVERY:
                beat_at = time.monotonic()
                with swallowed("live-pulse"):
                    self.beat()
            time.sleep(min(LOOK_EVERY, PULSE_EVERY))

    def beat(self) -> None:
        """One beat, through Redis."""
        self._through_redis.emit("pulse", {}, namespace="/", room="everyone")

    def look(self) -> None:
        """Close what has lost its sign-in or its role."""
        held = _held(self._server)
        for sign_in_id, role in held - _good(self._runtime, held):
            _drop(self._server, sign_in_id, role)


def _anybody(server: Any) -> bool:
    """Whether this process holds a socket."""
    return "everyone" in server.manager.rooms.get("/", {})


def _held(server: Any) -> set[tuple[int, str]]:
    """The sign-ins, each with a role, whose sockets this process holds."""
    rooms = (ROOM.match(str(name)) for name in list(server.manager.rooms.get("/", {})))
    return {(int(room[1]), room[2]) for room in rooms if room}


def _good(runtime: Runtime, held: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of them that are signed in still, each with the role that its owner has now."""
    if not held:
        return set()
    with runtime.database.reading() as db:
        rows = db.execute(
            select(SignIn.id, User.role)
            .join(User, User.id == SignIn.user_id)
            .where(SignIn.id.in_({id_ for id_, _ in held}), SignIn.revoked_at.is_(None), SignIn.expires_at > now())
        )
        return {(id_, str(role)) for id_, role in rows}


class Refused(Exception):
    """Raised where a socket is refused before it is opened; its argument is the answer's status line."""


class Guard:
    """Stands before Socket.IO: a raw WebSocket that never says who it is would hold a thread for a minute."""

    def __init__(self, inner: Wsgi, site: Site) -> None:
        self._inner, self._site = inner, site
        self._open: Counter[int] = Counter()  # by user
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").startswith(PATH):
            return self._inner(environ, start_response)
        try:
            who = self._admit(environ)
        except Refused as refused:
            start_response(str(refused), [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return []
        try:
            environ["beamdesk.person"] = who
            return list(self._inner(environ, start_response))
        finally:
            self._leave(who)

    def _admit(self, environ: dict[str, Any]) -> Person:
        web = self._site.settings.web
        if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
            raise Refused("400 Bad Request")
        if not is_own_origin(environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST", ""), self._site.settings):
            raise Refused("403 Forbidden")
        who = self._who(environ)
        with self._lock:
            if self._open[who.user_id] >= web.live_sockets_per_user or self._open.total() >= web.live_sockets:
                raise Refused("503 Service Unavailable")
            self._open[who.user_id] += 1
        return who

    def _who(self, environ: dict[str, Any]) -> Person:
        token = parse_cookie(environ).get(self._site.cookie, "")
        try:
            return identity.whose(self._site.runtime, token)
        except BrokerError:
            raise Refused("401 Unauthorized") from None

    def _leave(self, who: Person) -> None:
        with self._lock:
            self._open[who.user_id] -= 1
            if not self._open[who.user_id]:
                del self._open[who.user_id]
