"""Does the business with the database of all who come by the RDP gateway, in one process beside the listening one.

So a carrying process touches no database, nor has any of its client loaded, and an opening costs a transaction and no
connection of its own to the database. Who carries talks to it over a socket of its own: it says its number, is told the
connection's, takes its name, and then hears of the desktop; or, at any time, why there is none.
"""

from __future__ import annotations

import gc
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from agents.protocol import RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD
from broker.connections import policy
from broker.connections.models import Way
from broker.errors import BrokerError, ServiceDown
from broker.gateways import register
from broker.gateways.patience import Patience
from broker.gateways.rdp_desktop import LARGEST
from broker.gateways.register import Visitor
from broker.metrics import swallowed
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.service import Desktop

AT_ONCE = 16  # whose transactions may be open


def run(runtime: Runtime, patience: Patience, told: socket.socket) -> None:
    """Until the listening process is gone; whoever came before is served."""
    _warm(runtime)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while True:
            said, descriptors, _, _ = socket.recv_fds(told, LARGEST, 1)
            if not said:
                return
            carrier = socket.socket(fileno=descriptors[0])
            carrier.settimeout(patience.opening)
            runtime.reread()
            work = partial(serve, runtime, carrier, **json.loads(said))
            threads.submit(copy_context().run, work)  # who comes next by the same thread is somebody else


def serve(runtime: Runtime, carrier: socket.socket, ticket: str, client: str) -> None:
    """Say to who carries which desktop this ticket opens, or why it opens none; the socket is closed then."""
    with swallowed("office"), suppress(OSError), carrier:  # who carried may be gone
        try:
            desktop = _admitted(runtime, carrier, ticket, client)
        except BrokerError as error:
            _say(carrier, refused=str(error))
        except SQLAlchemyError:
            _say(carrier, refused=str(ServiceDown("The database does not answer.")))
        else:
            _say(carrier, desktop=_shown(desktop))


def _admitted(runtime: Runtime, carrier: socket.socket, ticket: str, client: str) -> Desktop:
    def name(connection_id: int) -> None:
        _say(carrier, connection=connection_id)
        _hear(carrier)

    settings = runtime.settings
    visitor = Visitor(client, _hear(carrier), name)
    with runtime.database.transaction() as db:
        desktop = service.redeem_from_file(db, settings, ticket, Way.RDP)
        register.enter(db, desktop, Way.RDP, visitor, settings.rdp.connections_per_session)
    return desktop


def _shown(desktop: Desktop) -> dict[str, Any]:
    """What who carries needs of it, as rdp_desktop.Admitted has it. The door is that of the machine's RDP server which
    lets through what the policy allows today; no other is ever reached."""
    door = RDP_DOOR if policy.rdp_clipboard(desktop.policy) else RDP_DOOR_WITHOUT_CLIPBOARD
    shown = ("session_id", "user", "machine", "address", "password")
    return {"door": door, **{name: getattr(desktop, name) for name in shown}}


def _say(carrier: socket.socket, **words: Any) -> None:
    carrier.send(json.dumps(words).encode())


def _hear(carrier: socket.socket) -> int:
    """The number that it says; an OSError where it is gone."""
    said = carrier.recv(LARGEST)
    if not said:
        raise ConnectionResetError("the carrying process is gone")
    return int(said)


def _warm(runtime: Runtime) -> None:
    """Do here once what every visit does, so that the first one need not wait for it."""
    with swallowed("rdp-warm"):
        register.warm(runtime, lambda db: service.redeem_from_file(db, runtime.settings, "", Way.RDP))
    gc.collect()
    gc.freeze()
