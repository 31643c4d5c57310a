"""A program: it makes a process for each desktop, for the RDP gateway's listening process, whose child it is.

It has loaded what carries and nothing else (no settings, no database, no logger), which a test holds: so a fork costs a
millisecond, where one of the whole broker costs ten, and a desktop less memory. It ends with the listening process;
desktops go on.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import ssl
import sys
from typing import Any

from broker.configuration import doorway
from broker.configuration.doorway import Shown
from broker.gateways.patience import Patience
from broker.gateways.processes import fork
from broker.gateways.rdp_desktop import LARGEST, Visit
from broker.gateways.x224 import Request

MODULE = "broker.gateways.rdp_carriers"


def become(told: socket.socket, patience: dict[str, float], certificate: tuple[str, str] | None) -> None:
    """Let this process be that program, which hears of visits by `told`."""
    os.set_inheritable(told.fileno(), True)
    about = json.dumps([told.fileno(), patience, certificate])
    os.execv(sys.executable, [sys.executable, "-P", "-m", MODULE, about])  # nosec B606 # it is ours


def own_side(certificate: str, key: str) -> ssl.SSLContext:
    """The gateway's own side of TLS, where it ends here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(certificate, key)
    return context


class Carriers:
    """Makes them, as it is told."""

    def __init__(self, told: socket.socket, patience: Patience, certificate: ssl.SSLContext | None) -> None:
        self._told, self._patience, self._certificate = told, patience, certificate
        self._shown: Shown | None = None
        self._doors: ssl.SSLContext | None = None

    def run(self) -> None:
        """Until the listening process is gone."""
        while True:
            said, descriptors, _, _ = socket.recv_fds(self._told, LARGEST, 3)
            if not said:
                return
            words, sockets = json.loads(said), [socket.socket(fileno=each) for each in descriptors]
            self._show(Shown(*words["shown"]))
            if sockets:
                self._make(words, *sockets)

    def _show(self, shown: Shown) -> None:
        if shown != self._shown:
            self._doors = doorway.context(shown)
            doorway.greet(self._doors, shown)
            self._shown = shown
            gc.collect()
            gc.freeze()

    def _make(self, words: dict[str, Any], client: socket.socket, office: socket.socket, life: socket.socket) -> None:
        """A process for this visit, which alone keeps the sockets."""
        with client, office, life:
            request = Request(**words["request"])
            assert self._doors is not None  # noqa: S101 - it was made before
            visit = Visit(
                self._patience, self._certificate, self._doors, client, words["client"], request, office, life
            )
            try:
                fork(lambda: self._carry(visit))
            except OSError as error:  # out of processes, or of memory
                visit.refuse(str(error))

    def _carry(self, visit: Visit) -> None:
        self._told.close()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        visit.serve()


def main() -> None:
    """Begin."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):  # nobody waits for those who carry
        signal.signal(number, signal.SIG_IGN)
    descriptor, patience, certificate = json.loads(sys.argv[1])
    own = own_side(*certificate) if certificate else None
    Carriers(socket.socket(fileno=descriptor), Patience(**patience), own).run()


if __name__ == "__main__":
    main()
