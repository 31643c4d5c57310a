"""One browser's way to one desktop, or to its sound, in a process of its own: who may come in, both greetings, and the
end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import structlog
from websockify.websocketproxy import ProxyRequestHandler
from websockify.websocketserver import WebSocketRequestHandlerMixIn

from agents.protocol import VNC_DOOR
from broker import rfb
from broker.configuration import doors
from broker.connections.models import Way
from broker.errors import PROBLEM, BrokerError, InvalidRequest, MachineUnreachable, NotFound, ServiceDown, TicketRefused
from broker.gateways import sound
from broker.gateways.carry import Carrying, Ended, MachineLeft
from broker.gateways.clerk import LAST, Clerk
from broker.gateways.door import Door
from broker.gateways.forwarded import client
from broker.gateways.greeting import BadViewer, Greeting
from broker.gateways.patience import hurry
from broker.gateways.rfb_filter import Filter, Passing, passing
from broker.gateways.viewer import Left, TooMuch, Viewer
from broker.runtime import Runtime
from broker.sessions.service import Desktop
from broker.sharing import recordings
from broker.sharing.recordings import Full

log = structlog.get_logger()

WAYS = {"/desktop": Way.BROWSER, sound.PATH: Way.SOUND}
VERSION = "13"  # of the protocol; the library takes older drafts, and any HTTP
AGAIN = "Try again in a moment; if it stays so, end the session and launch a new one."
# Close codes (RFC 6455, 7.4.1)
NORMAL, GOING_AWAY, PROTOCOL_ERROR, TOO_BIG, TRY_AGAIN = 1000, 1001, 1002, 1009, 1013
CODES: dict[type[Exception], int] = {
    Ended: GOING_AWAY,
    TimeoutError: GOING_AWAY,
    MachineLeft: TRY_AGAIN,
    BadViewer: PROTOCOL_ERROR,
    TooMuch: TOO_BIG,
    Full: TRY_AGAIN,
}


class DesktopHandler(ProxyRequestHandler):  # type: ignore[misc]
    """Asks who comes first, then takes the ticket, then reaches the machine: each refusal is an HTTP answer."""

    SocketClass = Viewer
    _hung_up = False
    server_version, sys_version = "Beamdesk", ""

    def handle_upgrade(self) -> None:
        """Let in who may pass; the library asks for the ticket first, and answers nothing where it is refused."""
        try:
            self._clerk = Clerk(self.server.runtime, self._admit)
            self._desktop = self._clerk.admitted()
            self._reach()
        except BrokerError as error:
            self._refuse(error)
        else:
            WebSocketRequestHandlerMixIn.handle_upgrade(self)

    def _reach(self) -> None:
        where = self.server.runtime, self._desktop, self.server.patience.machine
        if self._way is Way.SOUND:
            self._machine = sound.reach(*where)
        else:
            self._machine, self._greeting = _reach(*where)
            self._shown = self._recorded() if self._desktop.recorded else lambda _: None

    @property
    def _way(self) -> Way | None:
        return WAYS.get(self.path.partition("?")[0])

    def _recorded(self) -> Callable[[bytes], None]:
        """What writes the recording of this window, which has its handshake already; nobody looks in unrecorded."""
        try:
            recorder = recordings.begin(self.server.runtime.settings, self._clerk.connection_id)
            recorder.shown(self._greeting.whole)
        except OSError as error:
            self._machine.close()
            log.warning("gateway.recording", error=str(error))
            raise ServiceDown(
                "This window cannot be recorded, so it is not opened.", hint="Tell an operator."
            ) from None
        return recorder.shown

    def _admit(self, name_carrier: Callable[[int], None]) -> Desktop:
        """Run by the clerk, which must not keep the viewer's connection open."""
        os.close(self.connection.detach())
        if self._way is None:
            raise NotFound("The gateway carries desktops only.", hint="Open the desktop from the portal.")
        if not self._is_websocket():
            raise InvalidRequest("This is no WebSocket of RFC 6455.", hint="Open the desktop from the portal.")
        door: Door = self.server.token_plugin
        door.way = self._way
        forwarded, proxies = self.headers.get_all("X-Forwarded-For", []), self.server.runtime.settings.gateway.proxies
        door.client = client(str(self.client_address[0]), forwarded, proxies)
        door.carrier, door.name_carrier = os.getppid(), name_carrier
        self.auth_connection()
        try:
            self.validate_connection()
        except self.server.EClose:
            raise TicketRefused("There is no ticket in this address.", hint="Ask the API for one.") from None
        assert door.desktop is not None  # noqa: S101 - the ticket was taken
        return door.desktop

    def _is_websocket(self) -> bool:
        said = (self.request_version, self.headers.get("Sec-WebSocket-Version"))
        return said == ("HTTP/1.1", VERSION) and bool(self.headers.get("Sec-WebSocket-Key"))

    def _refuse(self, error: BrokerError) -> None:
        log.info("gateway.refused", status=error.status, why=error.message, client=self.client_address[0])
        body = json.dumps(error.problem()).encode()
        self.send_response(error.status)
        self.send_header("Content-Type", PROBLEM)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def new_websocket_client(self) -> None:
        """Called by the library once the WebSocket is open."""
        viewer: Viewer = self.request
        viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self.server.patience.silence * 1000))
        viewer.setblocking(False)
        log.info("gateway.open", session=self._desktop.session_id, user=self._desktop.user, client=self.client_address)
        code, why = NORMAL, ""
        signal.signal(signal.SIGTERM, self._hang_up)
        with self._machine as machine:
            try:
                self._carry(viewer, machine)
            except (Left, Ended, BadViewer, TooMuch, Full, OSError) as end:
                code, why = CODES.get(type(end), NORMAL), str(end)
        if self._hung_up:
            code, why = GOING_AWAY, "Beamdesk closed this desktop"
        log.info("gateway.closed", session=self._desktop.session_id, why=why)
        viewer.goodbye(code, why, seconds=self.server.patience.goodbye)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        """Let the carrying find that the machine is gone: an exception here could cut a frame in half."""
        self._hung_up = True
        with suppress(OSError):
            socket.socket.shutdown(self._machine, socket.SHUT_RDWR)  # its own would go on without TLS

    def _carry(self, viewer: Viewer, machine: ssl.SSLSocket) -> None:
        if self._way is Way.SOUND:
            self._clerk.dismiss()
            sound.carry(viewer, machine, self.server.patience)
        else:
            self._carry_desktop(viewer, machine)

    def _carry_desktop(self, viewer: Viewer, machine: ssl.SSLSocket) -> None:
        _greet(viewer, self._greeting)
        self._clerk.reached("handshake")
        may = _passing(self._desktop)
        passed = bytes if may.all else Filter(may).hear
        machine.sendall(passed(self._greeting.rest))
        machine.setblocking(False)
        hurry(0)
        first_frame = partial(self._clerk.reached, LAST)
        Carrying(
            viewer,
            machine,
            on_first_frame=first_frame,
            patience=self.server.patience,
            passed=passed,
            shown=self._shown,
        ).run()


def serve(connection: socket.socket, address: Any, server: Any) -> None:
    """Carry this one connection to its end, in this process."""
    hurry(server.patience.opening)
    connection.settimeout(server.patience.request)
    try:
        server.do_handshake(connection, address)
    except (server.EClose, OSError) as error:
        log.debug("gateway.nobody", client=address[0], why=str(error))  # gone, or too slow to say what it wants


def _reach(runtime: Runtime, desktop: Desktop, timeout: float) -> tuple[ssl.SSLSocket, Greeting]:
    """The machine's VNC server, signed in to, and the greeting that viewers of its desktop get."""
    try:
        state_dir = runtime.settings.state_dir
        machine = doors.reach(state_dir, desktop.machine, desktop.address, VNC_DOOR, timeout=timeout)
        rfb.sign_in(machine, desktop.password)
        return machine, Greeting(rfb.initialise(machine, _passing(desktop).opening)[2])
    except rfb.RfbRefused as error:
        raise rfb.RfbRefused(error.message, hint=AGAIN) from None
    except OSError as error:
        why = error.strerror or "nothing came in time"
        raise MachineUnreachable(f"The desktop's machine does not answer: {why}.", hint=AGAIN) from None


def _passing(desktop: Desktop) -> Passing:
    return passing(desktop.policy, view_only=desktop.view_only)


def _greet(viewer: Viewer, greeting: Greeting) -> None:
    viewer.say(greeting.opening)
    while not greeting.done:
        select.select([viewer], [], [])
        viewer.say(greeting.hear(viewer.said()))
