"""The RDP gateway, and sessions whose files are opened by bare clients."""

from __future__ import annotations

from broker.sessions import files
from tests.integration.gateways.lab import COMMAND, Desk, Lab
from tests.integration.gateways.rdp_peers import MACHINE, TLS, Client, first_packet

RDP = (*COMMAND, "rdp")
HASTY = """
from broker.gateways import patience, rdp
from broker.runtime import current
rdp.run(current(), patience.Patience(request=1, opening=3, machine=1, heartbeat=0.2, silence=2))
"""  # the same gateway, which waits for seconds where it else waits for a minute


def ticket_of(text: str) -> str:
    """What the gateway reads of this file."""
    return text.partition("Cookie: msts=")[2].partition("\r\n")[0]


class RdpDesk(Desk):
    """A ready session. Called, it is a client that has opened a freshly downloaded file, or shows this ticket."""

    def __init__(self, lab: Lab, name: str = "alice", address: str = MACHINE) -> None:
        made = lab.desk(name, address)
        super().__init__(lab, made.person, made.token, made.session_id)
        self._clients: list[Client] = []

    def file(self) -> str:
        """The text of a fresh file."""
        return files.rdp(self.lab.runtime, self.person, self.session_id)

    def ticket(self) -> str:
        """The ticket of a fresh file."""
        return ticket_of(self.file())

    def __call__(self, ticket: str | None = None, protocols: int = TLS) -> Client:
        return self.say(first_packet(self.ticket() if ticket is None else ticket, protocols))

    def say(self, first: bytes) -> Client:
        """A client that sends this."""
        self._clients.append(Client(self.lab.gateway.port, first))
        return self._clients[-1]

    def close(self) -> None:
        """Leave, with every client."""
        for client in self._clients:
            client.socket.close()
