"""The machine's doors: stunnel, which asks whoever comes from outside for a gateway's certificate, before VNC and RDP.

The servers behind listen on loopback only. The key is made here and never leaves the machine; the broker signs its
certificate. The key belongs to an account of its own, as which stunnel runs: told by SIGHUP it reads a renewed
certificate, what is open stays open, and who knocks in that moment knocks again.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from agents.machine.faults import AgentError
from agents.machine.seat import RDP_PORT, RDP_PORT_WITHOUT_CLIPBOARD, Seat
from agents.machine.state import replace_file, turn
from agents.protocol import (
    PROBE_DOOR,
    RDP_DOOR,
    RDP_DOOR_WITHOUT_CLIPBOARD,
    SOUND_DOOR,
    VNC_DOOR,
    DoorCertificate,
    DoorRequest,
    Nothing,
)

ACCOUNT = "beamdesk-door"
FOLDER = Path("/etc/beamdesk/door")
GATEWAY = "beamdesk-gateway"  # whom a gateway's certificate names; no machine can be called so
_KEY, _CERTIFICATE, _AUTHORITIES = "key.pem", "certificate.pem", "authorities.pem"
_LISTENING = "0A"  # as /proc/net/tcp writes it
_NEW_KEY = ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")

# TLS 1.3 only. A handshake takes ten seconds at most; what is open may be silent for as long as a desktop stands still.
_SETTINGS = """\
foreground = yes
syslog = no
pid =
sslVersionMin = TLSv1.3
sessionResume = no
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
TIMEOUTbusy = 10
TIMEOUTclose = 1
TIMEOUTidle = 31536000
cert = {folder}/{certificate}
key = {folder}/{key}
CAfile = {folder}/{authorities}
requireCert = yes
verifyChain = yes
checkHost = {gateway}
"""
_DOOR = "[{name}]\naccept = {accept}\nconnect = {connect}\n"


def request(_: Nothing, __: float) -> DoorRequest:
    """Ask for a certificate; the key is made where there is none."""
    with turn("door"):
        owner = _owner()
        FOLDER.mkdir(mode=0o750, exist_ok=True)
        os.chown(FOLDER, 0, owner.pw_gid)
        key = FOLDER / _KEY
        if not key.exists():
            replace_file(key, _openssl(*_NEW_KEY), mode=0o400, uid=owner.pw_uid, gid=owner.pw_gid)
        line = ("openssl", "req", "-new", "-batch", "-key", str(key), "-subj", "/CN=beamdesk machine")
        return DoorRequest(_openssl(*line).decode())


def lay(given: DoorCertificate, _: float) -> Nothing:
    """Take the certificate and the authorities into use, at doors that are open already, too."""
    with turn("door"):
        group = _owner().pw_gid
        for name, text in ((_CERTIFICATE, given.certificate), (_AUTHORITIES, given.authorities)):
            replace_file(FOLDER / name, text.encode(), mode=0o640, gid=group)
    for pid in _programs():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
    return Nothing()


def _owner() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise AgentError("not-configured", f"This machine has no account {ACCOUNT}.") from None


def _openssl(*command: str) -> bytes:
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if run.returncode != 0:
        raise AgentError("door-failed", f"openssl failed: {run.stderr.decode(errors='replace').strip()}")
    return run.stdout


def _programs() -> Iterator[int]:
    """The processes of the doors' account, which runs nothing else."""
    owner = _owner().pw_uid
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == owner:
                yield int(process.name)


def doors_of(seat: Seat) -> dict[int, str]:
    """The seat's doors: the port outside, and the one on loopback, or the unix socket, that it leads to."""
    if not seat.rdp:
        return {PROBE_DOOR: _loopback(seat.vnc_port)}
    return {
        VNC_DOOR: _loopback(seat.vnc_port),
        RDP_DOOR: _loopback(RDP_PORT),
        RDP_DOOR_WITHOUT_CLIPBOARD: _loopback(RDP_PORT_WITHOUT_CLIPBOARD),
        SOUND_DOOR: str(seat.sound),
    }


def _loopback(port: int) -> str:
    return f"127.0.0.1:{port}"


def settings(doors: Sequence[tuple[str, str]], folder: Path = FOLDER) -> str:
    """stunnel's own: doors from an address to an address, with what lies in the folder."""
    names = {"key": _KEY, "certificate": _CERTIFICATE, "authorities": _AUTHORITIES, "gateway": GATEWAY}
    parts = [_DOOR.format(name=accept, accept=accept, connect=connect) for accept, connect in doors]
    return "".join((_SETTINGS.format(folder=folder, **names), *parts))


def command(seat: Seat) -> list[str]:
    """stunnel for the seat's doors, on every address of the machine."""
    _owner()
    anywhere = ":::" if Path("/proc/net/if_inet6").exists() else ""  # with IPv6 or without
    doors = [(f"{anywhere}{door}", inside) for door, inside in doors_of(seat).items()]
    file = seat.folder / "door.conf"
    replace_file(file, settings(doors).encode(), mode=0o644)
    return ["stunnel4", str(file)]


def wait(seat: Seat, seconds: float) -> None:
    """Return once the seat's doors are open; AgentError with stunnel's last words after `seconds`."""
    deadline = time.monotonic() + seconds
    while missing := set(doors_of(seat)) - _listening():
        if time.monotonic() > deadline:
            said = seat.log("door").read_text(errors="replace")[-1000:].strip() if seat.log("door").exists() else ""
            raise AgentError("no-door", f"Nothing listens on port {min(missing)}. {said or '(silent)'}")
        time.sleep(0.01)


def _listening() -> set[int]:
    """The ports of this machine on which something listens."""
    tables = (Path(f"/proc/net/{table}") for table in ("tcp", "tcp6"))
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING}
