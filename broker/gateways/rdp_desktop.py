"""One RDP client's way to one desktop, in a process of its own: the ticket, the machine, TLS, and the end.

It imports little (rdp_carriers.py). The office looks at the ticket; the listening process writes the log, as long as it
is there, and knows by the end of its socket that the desktop is closed.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from broker.configuration import doorway
from broker.connections.stand_in import Exchange
from broker.errors import BrokerError, MachineUnreachable, ServiceDown
from broker.gateways import x224
from broker.gateways.joining import Left, join
from broker.gateways.patience import Patience, hurry
from broker.gateways.processes import take_name
from broker.gateways.sides import Plain, Within
from broker.gateways.x224 import BadPacket, Request

AGAIN = "Download the file again in a moment; if it stays so, end the session and launch a new one."
KNOCK_EVERY = 0.1  # seconds, while the machine's RDP server is starting
LARGEST = 64 * 1024  # bytes of a message to or from the gateway's other processes


class Refused(Exception):
    """Raised where the office lets nobody in; its text says why."""


@dataclass(frozen=True)
class Admitted:
    """The desktop, and the door of its machine, as the office gives them."""

    session_id: int
    user: str
    machine: str
    address: str
    door: int
    password: str


@dataclass(frozen=True)
class Visit:
    """One client that has shown its first packet. `certificate` is ours, where its TLS ends at this gateway, `doors`
    what we show to machines; `office` and `life` lead to the office and to the listening process."""

    patience: Patience
    certificate: ssl.SSLContext | None
    doors: ssl.SSLContext
    connection: socket.socket
    client: str
    request: Request
    office: socket.socket
    life: socket.socket

    def serve(self) -> None:
        """Carry this client's desktop to its end, in this process."""
        hurry(self.patience.opening)
        self.connection.settimeout(self.patience.request)
        try:
            with self.office:
                desktop = self._admitted()
            machine, answer = self._reach(desktop)
        except (BrokerError, Refused, TimeoutError) as error:
            self.refuse(str(error))
            return
        with machine:
            self._carry(desktop, machine, answer)

    def refuse(self, why: str) -> None:
        """Tell the client that there is no desktop, and the log why."""
        self._log("refused", why=why, client=self.client)
        with suppress(OSError):
            self.connection.sendall(x224.refusal(x224.INCONSISTENT))

    def _log(self, event: str, **about: Any) -> None:
        with suppress(OSError):  # the listening process is gone
            self.life.send(json.dumps([event, about]).encode())

    def _admitted(self) -> Admitted:
        """The desktop, once this process has the name that the connection's row says."""
        try:
            self.office.send(json.dumps(os.getpid()).encode())
            said = self._told()
            if "connection" in said:
                take_name(said["connection"])
                self.office.send(json.dumps(said["connection"]).encode())
                said = self._told()
        except (ConnectionError, TimeoutError):
            raise ServiceDown("The database does not answer.", hint="Try again in a moment.") from None
        if "refused" in said:
            raise Refused(said["refused"])
        return Admitted(**said["desktop"])

    def _told(self) -> dict[str, Any]:
        said = self.office.recv(LARGEST)
        if not said:
            raise ConnectionResetError("the office is gone")
        words: dict[str, Any] = json.loads(said)
        return words

    def _reach(self, desktop: Admitted) -> tuple[ssl.SSLSocket, bytes]:
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

    def _answered(self, desktop: Admitted) -> tuple[ssl.SSLSocket, tuple[int, bytes]]:
        """The machine and what it answered; behind its door the RDP server may come up a moment after the desktop."""
        deadline = time.monotonic() + self.patience.machine
        where = (desktop.address, desktop.door)
        while True:
            try:
                machine = doorway.reach(self.doors, desktop.machine, where, timeout=self.patience.machine)
                return _asked(machine, self.request)
            except (ConnectionError, ssl.SSLEOFError):  # the latter where its door closed before we asked
                if time.monotonic() > deadline:
                    raise
            time.sleep(KNOCK_EVERY)

    def _carry(self, desktop: Admitted, machine: ssl.SSLSocket, answer: bytes) -> None:
        signal.signal(signal.SIGTERM, _closed)
        self._log("open", session=desktop.session_id, user=desktop.user, client=self.client)
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
            self._log("closed", session=desktop.session_id, why=str(end))


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
