"""The tunnels' gateway: machines that nobody can reach dial in to Debian's sshd, and are reached at its addresses.

That sshd does nothing but listen, for each machine at its own address and no other. It runs without root, once for each
connection, and open tunnels outlive our restart and our death. Who may dial in stands in a file, which follows the
database; a connection whose machine may no more is ended at once. What goes through is TLS and SSH between others:
nothing is believed here.
"""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import FrameType

import structlog

from broker.clouds.dialling import ENDS
from broker.configuration import ca
from broker.gateways import dialled_in, sshd
from broker.metrics import swallowed
from broker.pools import tunnels
from broker.pools.tunnels import End
from broker.runtime import Runtime
from broker.secret_files import put
from broker.serve import port_must_be_free

log = structlog.get_logger()

EVERY = 0.5  # seconds between looks at the database
RARELY = 5.0  # the same while no cloud's machines dial out
GRACE = 20  # seconds to come in
WAITING, WAITING_OF_ONE = 200, 50  # who may be on their way in: in all, and from one address
SILENT, TIMES = 5, 3  # so many seconds of silence, so often, after which a connection is given up


def configuration(host: ca.Login, account: str, machines: Path) -> str:
    """sshd's configuration."""
    own = {
        "AuthorizedKeysFile": sshd.quoted(machines).replace("%", "%%"),
        "AllowTcpForwarding": "remote",
        "GatewayPorts": "clientspecified",
        "PermitListen": " ".join(str(port) for port in ENDS),
        "PermitOpen": "none",
        "LoginGraceTime": str(GRACE),
        "ClientAliveInterval": str(SILENT),
        "ClientAliveCountMax": str(TIMES),
    }
    return sshd.forwarding_alone(host, account, own)


def machines(ends: Sequence[End]) -> str:
    """Whom sshd lets in, a line each, and the one address at which it listens for that machine."""
    return "".join(
        "restrict,port-forwarding,"
        + "".join(f'permitlisten="{end.address}:{port}",' for port in ENDS)
        + f'command="/bin/false" {end.host_key}\n'
        for end in ends
    )


@dataclass
class Arrival:
    """A connection that we accepted: its sshd, from where it came, and whether its machine has come in."""

    sshd: subprocess.Popen[bytes]
    client: str
    is_in: bool = False


class Gateway:
    """Accepts connections, an sshd for each, and keeps the file of machines as the database has it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._settings = runtime, runtime.settings.tunnels
        self._folder = runtime.settings.state_dir.absolute() / "run" / "tunnels"
        self._machines = self._folder / "machines"
        self._configuration = self._folder / "sshd_config"
        self._listener: socket.socket | None = None
        self._arrivals: list[Arrival] = []  # the oldest first; without those that an earlier process of ours accepted
        self._living: frozenset[str] | None = None
        self._up: set[str] = set()
        self._stop = threading.Event()

    def run(self) -> None:
        """Until SIGTERM or SIGINT; what is open then goes on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while not self._stop.is_set():
            try:
                self._turn()
            except OSError as error:  # out of descriptors, of processes, or of memory
                log.warning("gateway.tunnels.accept", error=str(error))
                time.sleep(EVERY)
        self._close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _turn(self) -> None:
        self._runtime.reread()
        with swallowed("tunnels"):
            with self._runtime.database.reading() as db:
                ends = tunnels.living(db)
            self._let_in(ends)
            ca.gateway_host(self._runtime.settings.secrets_dir)  # renewed in time, for who comes next
        self._open_or_close()
        self._look_around()
        if self._listener is None:
            self._stop.wait(EVERY if self._living is None else RARELY)
        else:
            self._accept_for(EVERY, self._listener)

    def _let_in(self, ends: Sequence[End]) -> None:
        """Write down who may dial in; then end the connections of those who may no more."""
        text = machines(ends)
        if not self._machines.is_file() or self._machines.read_text() != text:
            put(self._machines, text)
        living, network = frozenset(end.address for end in ends), IPv4Network(self._settings.network)
        strays = {each for each in dialled_in.listening() if IPv4Address(each) in network} - living
        if strays or self._living is None or self._living - living:
            number = dialled_in.cut(self._port, living)
            if number:
                log.info("gateway.tunnels.cut", connections=number)
        self._living = living

    @property
    def _port(self) -> int:
        return int(self._settings.listen.rsplit(":", 1)[1])

    def _open_or_close(self) -> None:
        """Listen while a cloud of the settings or a living machine asks for it, but not before it is known who may."""
        reach = {cloud.reach for cloud in self._runtime.settings.clouds.values()}
        wanted = self._living is not None and (bool(self._living) or "tunnel" in reach)
        if not wanted or self._settings != self._runtime.settings.tunnels:
            self._close()
        if wanted and self._listener is None:
            self._open()

    def _open(self) -> None:
        self._settings = self._runtime.settings.tunnels
        host = ca.gateway_host(self._runtime.settings.secrets_dir)
        account = sshd.account_of(self._runtime.settings)
        self._configuration = sshd.put(self._folder, configuration(host, account, self._machines))
        port_must_be_free("tunnels.listen", self._settings.listen)
        self._listener = socket.create_server((self._settings.listen.rsplit(":", 1)[0], self._port), backlog=1024)
        self._listener.setblocking(False)
        log.info("gateway.tunnels.listening", at=self._settings.listen)

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _accept_for(self, seconds: float, listener: socket.socket) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
            if select.select([listener], [], [], left)[0]:
                connection, address = listener.accept()
                with connection:
                    self._take(connection, str(address[0]))

    def _take(self, connection: socket.socket, client: str) -> None:
        """Let an sshd serve it. From one address few are heard at a time; where too many are on their way in, the one
        that has been the longest goes: it is stuck, or means no good."""
        waiting = [each for each in self._arrivals if not each.is_in and each.sshd.poll() is None]
        if sum(each.client == client for each in waiting) >= WAITING_OF_ONE:
            return
        if len(waiting) >= WAITING:
            waiting[0].sshd.kill()
        _prepare(connection)
        line = [sshd.program(), "-i", "-e", "-f", str(self._configuration)]
        end = connection.fileno()
        served = subprocess.Popen(line, stdin=end, stdout=end, start_new_session=True)
        self._arrivals.append(Arrival(served, client))

    def _look_around(self) -> None:
        """Forget who has gone, note who has come in, and log whose tunnels are up and down."""
        self._arrivals = [each for each in self._arrivals if each.sshd.poll() is None]
        if not all(each.is_in for each in self._arrivals):
            held = {pid for each in dialled_in.connections(self._port) if each.ends for pid in each.pids}
            for arrival in self._arrivals:
                arrival.is_in = arrival.sshd.pid in held
        up = dialled_in.listening() & (self._living or frozenset())
        for what, ends in (("up", up - self._up), ("down", self._up - up)):
            for end in sorted(ends):
                log.info(f"gateway.tunnels.{what}", end=end)
        self._up = up


def _prepare(connection: socket.socket) -> None:
    """What sshd does not do itself, or not well enough.

    It lets small packets go at once for shells only. And it forgets to ask a silent machine whether it is still there
    as long as somebody sends into the tunnel (seen in OpenSSH 9.2): so the kernel gives up what is not acknowledged.
    """
    connection.setblocking(True)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        socket.TCP_NODELAY: 1,
        socket.TCP_KEEPIDLE: SILENT,
        socket.TCP_KEEPINTVL: SILENT,
        socket.TCP_KEEPCNT: TIMES,
        socket.TCP_USER_TIMEOUT: SILENT * TIMES * 1000,
    }
    for option, value in options.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def run(runtime: Runtime) -> None:
    """Let machines dial in until SIGTERM or SIGINT."""
    Gateway(runtime).run()
