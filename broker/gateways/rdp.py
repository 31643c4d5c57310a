"""The RDP gateway: one public port, by which the .rdp file of any session reaches that session's machine.

The listening process reads each client's first packet; only who brings a ticket gets a process. That one redeems the
ticket, reaches the machine, and joins both: refused is who is refused before any byte reaches a machine.
"""

from __future__ import annotations

import gc
import socket
import ssl
from contextlib import suppress

import structlog
from sqlalchemy.exc import IntegrityError

from broker.configuration import doors
from broker.connections.models import Ticket, Way
from broker.errors import BadSettings, TicketRefused
from broker.gateways import register, x224
from broker.gateways.listener import Listener
from broker.gateways.lobby import Lobby
from broker.gateways.patience import Patience
from broker.gateways.rdp_desktop import Visit
from broker.gateways.register import Visitor
from broker.gateways.x224 import INCONSISTENT, BadPacket, Request, refusal
from broker.identity.models import User
from broker.metrics import swallowed
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import UserSession
from broker.sessions.service import Desktop
from broker.settings import RdpSettings

log = structlog.get_logger()


class Gateway(Listener):
    """The listening process."""

    def __init__(self, runtime: Runtime, patience: Patience) -> None:
        super().__init__(runtime, "rdp", runtime.settings.rdp)
        self._most_from = runtime.settings.rdp.connections_per_address
        self._patience, self._certificate = patience, certificate(runtime.settings.rdp)
        self._lobby = Lobby("rdp", self.selector, _request, self._admit, seconds=patience.request)

    def arrived(self, connection: socket.socket, client: str) -> None:
        """Let in, as far as the lobby, who does not hold too many already."""
        if self.open_from(client) + self._lobby.waiting_from(client) < self._most_from:
            self._lobby.enter(connection, client)
        else:
            log.warning("rdp.refused", why="its address has too many connections", client=client)
            connection.close()

    def turn(self) -> None:
        """As any gateway's, and nobody waits in the lobby for too long."""
        super().turn()
        self._lobby.expire()

    def _admit(self, connection: socket.socket, client: str, request: Request) -> None:
        with swallowed("doors"):
            doors.warm(self.runtime.settings.state_dir)
        with connection:
            visit = Visit(self.runtime, self._patience, self._certificate, connection, client, request)
            if not self.carry(client, visit.serve):
                with suppress(OSError):
                    connection.send(refusal(INCONSISTENT))


def _request(connection: socket.socket, heard: bytearray) -> Request | None:
    """The first packet, once all of it is there."""
    data = connection.recv(x224.LARGEST + 1 - len(heard))
    heard += data
    request = x224.read_request(bytes(heard))
    if not data:
        raise BadPacket("it left")
    return request


def certificate(settings: RdpSettings) -> ssl.SSLContext | None:
    """The gateway's own side of TLS, where it ends here."""
    if settings.tls == "machine" or settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:
        raise BadSettings(
            f"rdp.certificate = {str(settings.certificate)!r} and rdp.key = {str(settings.key)!r} "
            f"cannot be used: {error.strerror or error}.",
            hint="Give a certificate with its chain, and its key without a password, both as PEM files.",
        ) from None
    return context


def _warm(runtime: Runtime) -> None:
    """Do here once what every child does, so that they share its memory and need no time for it."""
    with swallowed("rdp-warm"):
        doors.warm(runtime.settings.state_dir)
        with suppress(TicketRefused), runtime.database.transaction() as db:
            for table in (Ticket, UserSession, Machine, User):
                db.get(table, 0)
            service.redeem_from_file(db, runtime.settings, "", Way.RDP)
        with suppress(IntegrityError), runtime.database.transaction() as db:
            nobody = Desktop(0, 0, "", 0, "", "", "", "", "")  # of no session: refused
            register.enter(db, nobody, Way.RDP, Visitor("", 0, lambda _: None), 1)
    runtime.database.close()
    gc.collect()
    gc.freeze()


def run(runtime: Runtime, patience: Patience = Patience()) -> None:  # noqa: B008 - it is frozen
    """Carry desktops until SIGTERM or SIGINT."""
    gateway = Gateway(runtime, patience)
    _warm(runtime)
    gateway.run()
