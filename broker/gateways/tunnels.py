"""The tunnels' gateway: machines that nobody can reach dial in to Debian's sshd, and are reached at its addresses.

That sshd does nothing but listen, for each machine at its own address and no other; it runs without root, and open
tunnels outlive its restart and ours. Who may dial in stands in a file, which follows the database; a connection whose
machine may no more is ended at once. What goes through is TLS and SSH between others: nothing is believed here.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Sequence
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
from broker.settings import TunnelSettings

log = structlog.get_logger()

EVERY = 0.5  # seconds between looks at the database
_SILENT = 5  # seconds of silence, three times, after which a connection is given up
_NOT = (  # what this sshd never does, whatever a machine asks for
    *("PasswordAuthentication", "KbdInteractiveAuthentication", "HostbasedAuthentication", "GSSAPIAuthentication"),
    *("AllowStreamLocalForwarding", "AllowAgentForwarding", "X11Forwarding", "PermitTunnel"),
    *("PermitTTY", "PermitUserRC", "PermitUserEnvironment", "UsePAM", "UseDNS", "PrintMotd", "PrintLastLog"),
)


def configuration(settings: TunnelSettings, host: ca.Login, account: str, machines: Path) -> str:
    """sshd's configuration. A flood of strangers from one address does not keep machines out that come from others."""
    told = {
        "ListenAddress": settings.listen,
        "HostKey": sshd.quoted(host.key),
        "HostCertificate": sshd.quoted(host.certificate),
        "AuthorizedKeysFile": sshd.quoted(machines).replace("%", "%%"),
        "AuthenticationMethods": "publickey",
        "AllowUsers": account,
        "PermitRootLogin": "forced-commands-only",  # for a demo that runs as root as a whole
        "StrictModes": "no",
        "AllowTcpForwarding": "remote",
        "GatewayPorts": "clientspecified",
        "PermitListen": " ".join(str(port) for port in ENDS),
        "PermitOpen": "none",
        "MaxSessions": "0",
        "ForceCommand": "/bin/false",
        "LoginGraceTime": "20",
        "MaxStartups": "200:30:400",
        "PerSourceMaxStartups": "50",
        "ClientAliveInterval": str(_SILENT),
        "ClientAliveCountMax": "3",
        "PidFile": "none",
        "LogLevel": "INFO",
        **dict.fromkeys(_NOT, "no"),
    }
    return "".join(f"{name} {value}\n" for name, value in told.items())


def machines(ends: Sequence[End]) -> str:
    """Whom sshd lets in, a line each, and the one address at which it listens for that machine."""
    return "".join(
        "restrict,port-forwarding,"
        + "".join(f'permitlisten="{end.address}:{port}",' for port in ENDS)
        + f'command="/bin/false" {end.host_key}\n'
        for end in ends
    )


class Gateway:
    """Keeps the sshd running, and its file of machines as the database has it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._folder = runtime.settings.state_dir.absolute() / "run" / "tunnels"
        self._machines = self._folder / "machines"
        self._sshd: subprocess.Popen[bytes] | None = None
        self._settings = runtime.settings.tunnels
        self._living: frozenset[str] | None = None
        self._up: set[str] = set()
        self._shown = b""
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until SIGTERM or SIGINT; what is open then goes on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while not self._stopping.wait(EVERY):
            self._turn()
        self._end_sshd()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()

    def _turn(self) -> None:
        self._runtime.reread()
        with swallowed("tunnels"):
            with self._runtime.database.reading() as db:
                ends = tunnels.living(db)
            self._let_in(ends)
        wanted = self._living is not None and (bool(self._living) or self._is_wanted())
        if self._settings != self._runtime.settings.tunnels or not wanted:
            self._end_sshd()
        if wanted:
            self._keep_sshd()
        self._tell()

    def _is_wanted(self) -> bool:
        return any(cloud.reach == "tunnel" for cloud in self._runtime.settings.clouds.values())

    def _let_in(self, ends: Sequence[End]) -> None:
        """Write down who may dial in; then end the connections of those who may no more."""
        text = machines(ends)
        if not self._machines.is_file() or self._machines.read_text() != text:
            put(self._machines, text)
        before, self._living = self._living, frozenset(end.address for end in ends)
        network = IPv4Network(self._settings.network)
        strays = {each for each in dialled_in.listening() if IPv4Address(each) in network} - self._living
        if strays or before is None or before - self._living:
            number = dialled_in.cut(self._port, self._living)
            if number:
                log.info("gateway.tunnels.cut", connections=number)

    @property
    def _port(self) -> int:
        return int(self._settings.listen.rsplit(":", 1)[1])

    def _keep_sshd(self) -> None:
        """Start sshd where it does not run; tell it of another certificate of its own."""
        shown = self._certificate()
        if self._sshd is None or self._sshd.poll() is not None:
            self._start_sshd()
        elif shown != self._shown:
            self._sshd.send_signal(signal.SIGHUP)  # what is open stays open
        self._shown = shown

    def _certificate(self) -> bytes:
        """What we show to machines, brought up to date."""
        return ca.gateway_host(self._runtime.settings.secrets_dir).certificate.read_bytes()

    def _start_sshd(self) -> None:
        """It ends with this process, however that ends; machines' connections have processes of their own."""
        self._settings = self._runtime.settings.tunnels
        port_must_be_free("tunnels.listen", self._settings.listen)
        account = sshd.account_of(self._runtime.settings)
        host = ca.gateway_host(self._runtime.settings.secrets_dir)
        path = sshd.put(self._folder, configuration(self._settings, host, account, self._machines))
        line = ["setpriv", "--pdeathsig", "TERM", sshd.program(), "-D", "-e", "-f", str(path)]
        self._sshd = subprocess.Popen(line, stdin=subprocess.DEVNULL, start_new_session=True)
        log.info("gateway.tunnels.listening", at=self._settings.listen)

    def _end_sshd(self) -> None:
        if self._sshd is not None:
            self._sshd.terminate()
            self._sshd.wait()
            self._sshd = None

    def _tell(self) -> None:
        """Log who came and who went."""
        up = dialled_in.listening() & (self._living or frozenset())
        for what, ends in (("up", up - self._up), ("down", self._up - up)):
            for end in sorted(ends):
                log.info(f"gateway.tunnels.{what}", end=end)
        self._up = up


def run(runtime: Runtime) -> None:
    """Let machines dial in until SIGTERM or SIGINT."""
    Gateway(runtime).run()
