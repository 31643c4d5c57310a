"""Does a connection's business with the database in a process of its own, which ends with the first picture.

So the process that carries the desktop, perhaps for days, never touches the database's client: it stays at a quarter
of the size, and no slow database holds a byte of it up.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from sqlalchemy.exc import SQLAlchemyError

from broker.database import Database
from broker.errors import BrokerError, ServiceDown
from broker.gateways.processes import fork, take_name
from broker.metrics import swallowed
from broker.runtime import Runtime
from broker.sessions.models import LaunchMark, UserSession, mark
from broker.sessions.service import Desktop

LAST = "first_frame"
Admit = Callable[[Callable[[int], None]], Desktop]  # lets in who may pass; is given what names the carrying process


class Clerk:
    """The carrying process's side: ask once who is admitted, then tell how far the launch has come.

    `connection_id` is of the connection's row, once somebody is admitted.
    """

    connection_id = 0

    def __init__(self, runtime: Runtime, admit: Admit) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the clerk
        self._pipe, theirs = Pipe()

        def work() -> None:
            self._pipe.close()
            _work(theirs, runtime, admit)

        fork(work)
        theirs.close()

    def admitted(self) -> Desktop:
        """The desktop, once this process has the name that its row says; or the BrokerError that refused it."""
        try:
            while isinstance(answer := self._pipe.recv(), int):
                self.connection_id = answer
                take_name(answer)
                self._pipe.send(answer)
        except (EOFError, TimeoutError):
            raise _away() from None
        if isinstance(answer, BrokerError):
            raise answer
        assert isinstance(answer, Desktop)  # noqa: S101 - what else would the clerk say
        return answer

    def dismiss(self) -> None:
        """There is no more to do."""
        self._pipe.close()

    def reached(self, stage: str) -> None:
        """The launch has reached this stage now."""
        with suppress(OSError):
            self._pipe.send(stage)


def _work(pipe: Connection, runtime: Runtime, admit: Admit) -> None:
    def name(connection_id: int) -> None:
        pipe.send(connection_id)
        pipe.recv()

    try:
        desktop = admit(name)
    except BrokerError as error:
        pipe.send(error)
    except SQLAlchemyError:
        pipe.send(_away())
    else:
        pipe.send(desktop)
        _write_down(pipe, runtime, desktop.session_id)


def _write_down(pipe: Connection, runtime: Runtime, session_id: int) -> None:
    stage = ""
    while stage != LAST:
        stage = pipe.recv()
        with swallowed("gateway-trace"):
            _mark(runtime.database, session_id, stage)


def _mark(database: Database, session_id: int, stage: str) -> None:
    with database.reading() as db:
        if db.get(LaunchMark, (session_id, stage)):
            return  # a second window, or a network that came back: nobody waits for a lock
    with database.transaction() as db:
        session = db.get(UserSession, session_id)
        if session is not None:
            mark(db, session, stage)


def _away() -> ServiceDown:
    return ServiceDown("The database does not answer.", hint="Try again in a moment.")
