"""The RDP gateway: one public port, by which the .rdp file of any session reaches that session's machine.

The listening process reads each client's first packet; only who brings a ticket gets a process. That one has the office
redeem the ticket, reaches the machine, and joins both: refused is who is refused before any byte reaches a machine.
"""

from __future__ import annotations

import json
import resource
import socket
from contextlib import suppress
from dataclasses import asdict
from selectors import EVENT_READ

import structlog

from broker.configuration import doors
from broker.errors import BadSettings, BrokerError
from broker.gateways import office, rdp_carriers, rdp_desktop, x224
from broker.gateways.colleague import Colleague
from broker.gateways.listener import Listener
from broker.gateways.lobby import Lobby
from broker.gateways.patience import Patience
from broker.gateways.x224 import INCONSISTENT, BadPacket, Request, refusal
from broker.runtime import Runtime
from broker.settings import RdpSettings

log = structlog.get_logger()


class Gateway(Listener):
    """The listening process."""

    def __init__(self, runtime: Runtime, patience: Patience) -> None:
        super().__init__(runtime, "rdp", runtime.settings.rdp)
        own = certificate(runtime.settings.rdp)
        self._most_from = runtime.settings.rdp.connections_per_address
        self._lobby = Lobby("rdp", self.selector, _request, self._admit, seconds=patience.request)
        self._office = Colleague(self, "the office", lambda told: office.run(runtime, patience, told))
        self._carriers = Colleague(
            self, "who makes carriers", lambda told: rdp_carriers.become(told, asdict(patience), own)
        )

    def arrived(self, connection: socket.socket, client: str) -> None:
        """Let in, as far as the lobby, who does not hold too many already."""
        if self.open_from(client) + self._lobby.waiting_from(client) < self._most_from:
            self._lobby.enter(connection, client)
        else:
            log.warning("rdp.refused", why="its address has too many connections", client=client)
            connection.close()

    def stopped(self) -> None:
        """Nor does anybody wait any more."""
        self._lobby.close()

    def turn(self) -> None:
        """As any gateway's, and nobody waits in the lobby for too long."""
        for colleague in (self._office, self._carriers):
            colleague.look_after()
        super().turn()
        self._lobby.expire()

    def _admit(self, connection: socket.socket, client: str, request: Request) -> None:
        with connection:
            try:
                if self.has_room():
                    self._hand_over(connection, client, request)
                    return
            except (BrokerError, OSError) as error:  # out of descriptors, for one
                log.warning("rdp.refused", why=str(error), client=client)
            with suppress(OSError):
                connection.send(refusal(INCONSISTENT))

    def _hand_over(self, connection: socket.socket, client: str, request: Request) -> None:
        """Let a process carry it, and the office look at its ticket."""
        shown = doors.shown(self.runtime.settings.state_dir)
        (life, its_life), (to_office, from_carrier) = (_pair() for _ in range(2))
        with its_life, to_office, from_carrier:
            self._office.tell({"ticket": request.ticket, "client": client}, from_carrier)
            visit = {"shown": shown, "client": client, "request": asdict(request)}
            self._carriers.tell(visit, connection, to_office, its_life)
        life.setblocking(False)
        self.clients[life] = client
        self.selector.register(life, EVENT_READ, lambda: self._hear(life))

    def _hear(self, life: socket.socket) -> None:
        """Write down what the desktop's process says; when it is gone, forget it."""
        said = life.recv(rdp_desktop.LARGEST)
        if said:
            event, about = json.loads(said)
            log.info(f"rdp.{event}", **about)
        else:
            self.selector.unregister(life)
            del self.clients[life]
            life.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _request(connection: socket.socket, heard: bytearray) -> Request | None:
    """The first packet, once all of it is there."""
    data = connection.recv(x224.LARGEST + 1 - len(heard))
    heard += data
    request = x224.read_request(bytes(heard))
    if not data:
        raise BadPacket("it left")
    return request


def certificate(settings: RdpSettings) -> tuple[str, str] | None:
    """The files of the gateway's own side of TLS, where it ends here; BadSettings where they are of no use."""
    if settings.tls == "machine" or settings.certificate is None:
        return None
    files = str(settings.certificate), str(settings.key)
    try:
        rdp_carriers.own_side(*files)
    except OSError as error:
        raise BadSettings(
            f"rdp.certificate = {files[0]!r} and rdp.key = {files[1]!r} cannot be used: {error.strerror or error}.",
            hint="Give a certificate with its chain, and its key without a password, both as PEM files.",
        ) from None
    return files


def run(runtime: Runtime, patience: Patience = Patience()) -> None:  # noqa: B008 - it is frozen
    """Carry desktops until SIGTERM or SIGINT."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each open desktop costs the listening process one
    Gateway(runtime, patience).run()
