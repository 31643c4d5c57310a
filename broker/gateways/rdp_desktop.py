"""One RDP client's way to one desktop, in a process of its own: the ticket, the machine, TLS, and the end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import structlog

from agents.protocol import RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD
from broker.configuration import doors
from broker.connections import policy
from broker.connections.models import Way
from broker.connections.stand_in import Exchange
from broker.errors import BrokerError, MachineUnreachable
from broker.gateways import register, x224
from broker.gateways.clerk import Clerk
from broker.gateways.joining import Left, join
from broker.gateways.patience import Patience, hurry
from broker.gateways.register import Visitor
from broker.gateways.sides import Plain, Within
from broker.gateways.x224 import BadPacket, Request
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.service import Desktop

log = structlog.get_logger()

AGAIN = "Download the file again in a moment; if it stays so, end the session and launch a new one."
KNOCK_EVERY = 0.1  # seconds, while the machine's RDP server is starting


@dataclass(frozen=True)
class Visit:
    """One client that has shown its first packet; `certificate` where its TLS ends at this gateway."""

    runtime: Runtime
    patience: Patience
    certificate: ssl.SSLContext | None
    connection: socket.socket
    client: str
    request: Request

    def serve(self) -> None:
        """Carry this client's desktop to its end, in this process."""
        hurry(self.patience.opening)
        self.connection.settimeout(self.patience.request)
        try:
            clerk = Clerk(self.runtime, self._admit)
            desktop = clerk.admitted()
            clerk.dismiss()
            machine, answer = self._reach(desktop)
        except (BrokerError, TimeoutError) as error:
            log.info("rdp.refused", why=str(error), client=self.client)
            with suppress(OSError):
                self.connection.sendall(x224.refusal(x224.INCONSISTENT))
            return
        with machine:
            self._carry(desktop, machine, answer)

    def _admit(self, name_carrier: Callable[[int], None]) -> Desktop:
        """Run by the clerk, which must not keep the client's connection open."""
        os.close(self.connection.detach())
        visitor = Visitor(self.client, os.getppid(), name_carrier)
        with self.runtime.database.transaction() as db:
            desktop = service.redeem_from_file(db, self.runtime.settings, self.request.ticket, Way.RDP)
            register.enter(db, desktop, Way.RDP, visitor, self.runtime.settings.rdp.connections_per_session)
        return desktop

    def _reach(self, desktop: Desktop) -> tuple[ssl.SSLSocket, bytes]:
        """The machine's RDP server, and its answer to the client's request."""
        try:
            machine, (chosen, answer) = self._answered(desktop)
        except BadPacket as bad:
            raise MachineUnreachable(f"The machine's RDP server did not agree: {bad}.", hint=AGAIN) from None
        except OSError as error:
            why = error.strerror or "nothing came in time"
            raise MachineUnreachable(f"The desktop's machine does not answer: {why}.", hint=AGAIN) from None
        if self.certificate and chosen != x224.TLS:
            raise MachineUnreachable("The machine's RDP server wants more than TLS.", hint='Set rdp.tls = "machine".')
        return machine, answer

    def _answered(self, desktop: Desktop) -> tuple[ssl.SSLSocket, tuple[int, bytes]]:
        """The machine and what it answered; behind its door the RDP server may come up a moment after the desktop."""
        deadline = time.monotonic() + self.patience.machine
        where = (self.runtime.settings.state_dir, desktop.machine, desktop.address, _door(desktop))
        while True:
            try:
                return _asked(doors.reach(*where, timeout=self.patience.machine), self.request)
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(KNOCK_EVERY)

    def _carry(self, desktop: Desktop, machine: ssl.SSLSocket, answer: bytes) -> None:
        signal.signal(signal.SIGTERM, _closed)
        log.info("rdp.open", session=desktop.session_id, user=desktop.user, client=self.client)
        try:
            for side in (self.connection, machine):
                _notice_silence(side, self.patience)
            self.connection.sendall(answer)
            if self.certificate is None:
                hurry(0)
                join(Plain(self.connection), machine, self.patience)
                return
            near = self.certificate.wrap_socket(self.connection, server_side=True)
            far = Within(machine, _of_machines())
            far.do_handshake()
            hurry(0)
            join(near, far, self.patience, Exchange(desktop.password, self.request.ticket))
        except (Left, OSError) as end:
            log.info("rdp.closed", session=desktop.session_id, why=str(end))


def _door(desktop: Desktop) -> int:
    """The door of the machine's RDP server that lets through what the policy allows today; no other is ever reached."""
    return RDP_DOOR if policy.rdp_clipboard(desktop.policy) else RDP_DOOR_WITHOUT_CLIPBOARD


def _asked(machine: ssl.SSLSocket, request: Request) -> tuple[ssl.SSLSocket, tuple[int, bytes]]:
    try:
        machine.sendall(x224.request(request))
        return machine, _answer(machine)
    except (BadPacket, OSError):
        machine.close()
        raise


def _answer(machine: ssl.SSLSocket) -> tuple[int, bytes]:
    """The protocol that the machine chose, and its words, for the client; ConnectionError where nobody speaks."""
    heard = b""
    while (chosen := x224.read_answer(heard)) is None:
        piece = machine.recv(x224.LARGEST)
        if not piece and not heard:
            raise ConnectionResetError(errno.ECONNRESET, "its RDP server closed the connection")
        if not piece:
            raise BadPacket("it closed the connection")
        heard += piece
    return chosen, heard


def _of_machines() -> ssl.SSLContext:
    """The client's side of TLS with a machine's RDP server, whose certificate is its own: its door has proved which
    machine it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _notice_silence(side: socket.socket, patience: Patience) -> None:
    """Let the kernel break a connection whose other end is gone, or takes nothing."""
    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    side.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    every = max(1, round(patience.heartbeat))
    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, every)
    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every)
    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(patience.silence * 1000))


def _closed(number: int, frame: FrameType | None) -> NoReturn:
    raise Left("Beamdesk closed this desktop")
