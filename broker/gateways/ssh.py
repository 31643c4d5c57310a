"""The SSH gateway: one port for every machine, and a process for each connection, which starts an sshd for it.

Each connection is let in by what the database says at its very beginning, and closed within a second of the end of its
session, its sign-in or its key. Neither a restart of this process nor its death drops an open connection.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import structlog

from broker.errors import BadSettings
from broker.gateways import sshd, watch
from broker.gateways.jump import Jump, principals_file
from broker.gateways.processes import fork
from broker.metrics import swallowed
from broker.runtime import Runtime
from broker.sessions import certificates

log = structlog.get_logger()

EVERY = 0.5  # seconds between looks at the children


class Gateway:
    """The listening process; it forks one process for each connection, and one that watches them."""

    def __init__(self, runtime: Runtime, listener: socket.socket, configuration: Path) -> None:
        self._runtime, self._listener, self._configuration = runtime, listener, configuration
        self._settings = runtime.settings.ssh
        self._folder = configuration.parent
        self._jumps: dict[int, float] = {}  # when each process began
        self._watcher = 0
        self._stopping = False

    def run(self) -> None:
        """Listen until SIGTERM, then let open connections go on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        log.info("gateway.ssh.listening", at=self._settings.listen)
        while not self._stopping:
            try:
                self._turn()
            except OSError as error:  # out of descriptors, of processes, or of memory
                log.warning("gateway.ssh.accept", error=str(error))
                time.sleep(EVERY)
        self._listener.close()
        self._drain()

    def _turn(self) -> None:
        self._runtime.reread()
        self._reap()
        if select.select([self._listener], [], [], EVERY)[0]:
            connection, address = self._listener.accept()
            with connection:
                self._take(connection, str(address[0]))

    def _reap(self) -> None:
        """Forget children that have ended; have somebody watch."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                self._jumps.pop(ended, None)
                principals_file(self._folder, ended).unlink(missing_ok=True)
                self._watcher = 0 if ended == self._watcher else self._watcher
        if not self._watcher:
            parent = os.getpid()
            self._watcher = self._fork(lambda: watch.run(self._runtime, parent))

    def _take(self, connection: socket.socket, client: str) -> None:
        if len(self._jumps) >= self._settings.connections:
            log.warning("gateway.ssh.full", connections=len(self._jumps))
            return
        self._make_way()
        jump = lambda: Jump(self._runtime, self._configuration, self._folder).serve(connection, client)  # noqa: E731
        self._jumps[self._fork(jump)] = time.monotonic()

    def _make_way(self) -> None:
        """Where too many are on their way in, end the one that has been the longest: it is stuck, or means no good."""
        if len(self._jumps) < self._settings.waiting:
            return
        waiting = [pid for pid in self._jumps if _waits(pid)]
        if len(waiting) >= self._settings.waiting:
            slowest = min(waiting, key=self._jumps.__getitem__)
            log.warning("gateway.ssh.slow", waiting=len(waiting))
            os.kill(slowest, signal.SIGKILL)  # its sshd is hung up by the kernel
            self._jumps.pop(slowest)

    def _fork(self, work: Callable[[], None]) -> int:
        """A child that does this work; its number. It does not listen, so that another gateway can once we are gone."""

        def alone() -> None:
            self._listener.close()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            work()

        return fork(alone)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _drain(self) -> None:
        """Wait for open connections as long as the settings say. Others watch those that go on then."""
        deadline = time.monotonic() + self._settings.drain_seconds
        log.info("gateway.ssh.stopping", connections=len(self._jumps))
        while self._jumps and time.monotonic() < deadline:
            self._reap()
            time.sleep(EVERY)


def run(runtime: Runtime) -> None:
    """Carry SSH connections until SIGTERM or SIGINT."""
    account = sshd.account_of(runtime.settings)
    with _listen(runtime.settings.ssh.listen) as listener:
        folder = runtime.settings.state_dir.absolute() / "run" / "ssh-gateway"
        (folder / "principals").mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (folder / "principals").iterdir():
            if not Path(f"/proc/{left.name}").exists():  # of a process that was killed with its gateway
                left.unlink(missing_ok=True)
        configuration = sshd.configure(folder, runtime.settings.secrets_dir, account)
        _warm(runtime)
        Gateway(runtime, listener, configuration).run()


def _waits(pid: int) -> bool:
    """Whether nobody has come in by this child yet."""
    return not Path(f"/proc/{pid}/comm").read_text().startswith("desk-")


def _listen(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    try:
        return socket.create_server((host, int(port)), backlog=128)
    except (OSError, OverflowError) as error:
        raise BadSettings(
            f"ssh.listen = {address!r}: cannot listen there ({getattr(error, 'strerror', None) or error}).",
            hint="Stop what listens on this port, or give ssh.listen another one.",
        ) from None


def _warm(runtime: Runtime) -> None:
    """Do here once what every child does, so that they share its memory and need no time for it."""
    with swallowed("gateway-warm"), runtime.database.reading() as db:
        sshd.principals(certificates.live(db, runtime.settings))
    runtime.database.close()
    gc.collect()
    gc.freeze()
