"""One SSH client's way to one machine, in a process of its own: who may come in, and the end.

An sshd of OpenSSH's holds the client's connection and does all of SSH; this process starts it, writes down who came,
and ends it. It is the leader of a terminal that nobody sees, so that the kernel hangs sshd up when this process dies,
however it dies: no jump is ever open without its row.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection as Line
from pathlib import Path
from types import FrameType

import structlog
from sqlalchemy.exc import SQLAlchemyError

from broker.connections.models import Way
from broker.errors import BrokerError, ServiceDown
from broker.gateways import register, sshd
from broker.gateways.processes import fork, take_name
from broker.gateways.register import Visitor
from broker.runtime import Runtime
from broker.sessions import certificates

log = structlog.get_logger()

PATIENCE = 15.0  # seconds for the database's answer
LONGEST_MESSAGE = 4096  # of sshd's


@dataclass(frozen=True)
class Came:
    """Somebody came in, for this session, and it is written down."""

    session_id: int


class Jump:
    """One connection, from its first byte to its last."""

    def __init__(self, runtime: Runtime, configuration: Path, folder: Path) -> None:
        self._runtime, self._configuration = runtime, configuration
        self._principals = principals_file(folder, os.getpid())

    def serve(self, connection: socket.socket, client: str) -> None:
        """Carry this connection to its end, in this process."""
        _lead_a_terminal()
        clerk, self._clerk_pid = _ask_clerk(self._runtime, self._principals, client, connection)
        try:
            _answer(clerk)
            self._carry(connection, clerk, client)
        except BrokerError as error:
            log.info("gateway.ssh.refused", why=error.message, client=client)
        finally:
            self._principals.unlink(missing_ok=True)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _carry(self, connection: socket.socket, clerk: Line, client: str) -> None:
        said, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # it keeps messages apart
        hang_up = _hanging_up(connection)
        signal.signal(signal.SIGTERM, hang_up)
        command, client_end = sshd.command(self._configuration, self._principals), connection.fileno()
        with subprocess.Popen(command, stdin=client_end, stdout=client_end, stderr=theirs.fileno()):
            theirs.close()
            try:
                self._listen(said, clerk, client)
            finally:
                hang_up(0, None)

    def _listen(self, said: socket.socket, clerk: Line, client: str) -> None:
        """Hear what sshd says until it is gone."""
        came: Came | None = None
        while data := said.recv(LONGEST_MESSAGE):
            message = data.decode(errors="replace")
            session = came.session_id if came else None
            log.info("gateway.ssh", says=message.strip(), client=client, session=session)
            serial = sshd.accepted(message)
            if serial is not None and came is None:
                self._principals.unlink(missing_ok=True)
                clerk.send(serial)
                came = _answer(clerk)
                os.waitpid(self._clerk_pid, 0)  # it has no more to do


def principals_file(folder: Path, pid: int) -> Path:
    """Whom the sshd of this process lets in; it is there as long as nobody has come in."""
    return folder / "principals" / str(pid)


def _lead_a_terminal() -> None:
    """Be the leader of a session with a terminal, whose end is SIGHUP for all that this process has started."""
    os.setsid()
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _hanging_up(connection: socket.socket) -> Callable[[int, FrameType | None], None]:
    def hang_up(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    return hang_up


def _ask_clerk(runtime: Runtime, principals: Path, client: str, connection: socket.socket) -> tuple[Line, int]:
    """A process that does this connection's business with the database, and ends when somebody has come in."""
    ours, theirs = Pipe()
    carrier = os.getpid()

    def work() -> None:
        ours.close()
        connection.close()
        _Clerk(theirs, runtime, principals, client, carrier).work()

    pid = fork(work)
    theirs.close()
    return ours, pid


def _answer(clerk: Line) -> Came | None:
    """What the clerk says, once this process has the name that its row says."""
    try:
        while clerk.poll(PATIENCE):
            answer = clerk.recv()
            if isinstance(answer, BrokerError):
                raise answer
            if not isinstance(answer, int):
                assert answer is None or isinstance(answer, Came)  # noqa: S101 - what else would the clerk say
                return answer
            take_name(answer)
            clerk.send(answer)
    except (EOFError, OSError):
        pass
    raise ServiceDown("The database does not answer.", hint="Try again in a moment.")


class _Clerk:
    """The clerk's side."""

    def __init__(self, line: Line, runtime: Runtime, principals: Path, client: str, carrier: int) -> None:
        self._line, self._runtime, self._principals = line, runtime, principals
        self._client, self._carrier = client, carrier

    def work(self) -> None:
        """Write who may come in now; then write down who came."""
        try:
            sshd.today(self._runtime.settings.secrets_dir)
            self._write_principals()
            self._line.send(None)
            self._line.send(self._admit(self._line.recv()))
        except BrokerError as error:
            self._line.send(error)
        except SQLAlchemyError as error:
            log.warning("gateway.ssh.database", error=str(error))
            self._line.send(ServiceDown("The database does not answer."))

    def _write_principals(self) -> None:
        with self._runtime.database.reading() as db:
            text = sshd.principals(certificates.live(db, self._runtime.settings))
        self._runtime.database.close()  # whoever comes in may take a minute
        self._principals.write_text(text)

    def _admit(self, serial: int) -> Came:
        visitor = Visitor(self._client[:64], self._carrier, self._name_carrier)
        most = self._runtime.settings.ssh.connections_per_session
        with self._runtime.database.transaction() as db:
            desktop = certificates.used(db, self._runtime.settings, serial)
            register.enter(db, desktop, Way.SSH, visitor, most, certificate_id=serial)
        return Came(desktop.session_id)

    def _name_carrier(self, connection_id: int) -> None:
        self._line.send(connection_id)
        self._line.recv()
