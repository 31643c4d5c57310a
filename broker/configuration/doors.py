"""Machines' doors: mutual TLS before VNC and RDP. Every byte between the broker and a desktop goes through reach()."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from agents.protocol import DoorCertificate, DoorRequest, Nothing
from broker import rfb
from broker.configuration import desktop_ca, doorway, ssh
from broker.configuration.doorway import Shown
from broker.configuration.ssh import SshTarget
from broker.rfb import Frame

_GOOD_FOR = 3600.0  # seconds for which what was read is not read again; a certificate has half a day left, or more
_read: tuple[tuple[int, ...], Shown] | None = None
_made: tuple[Shown, ssl.SSLContext] | None = None
_greeted: ssl.SSLContext | None = None


def lay(state_dir: Path, target: SshTarget) -> None:
    """Give the machine's doors a certificate, and the authorities of which a gateway's may be; what is open stays."""
    secrets = state_dir.absolute() / "secrets"
    asked = ssh.agent(state_dir, target, "door-request", Nothing(), DoorRequest)
    certificate = desktop_ca.sign_machine(secrets, asked.request, target.name, target.address)
    given = DoorCertificate(certificate, desktop_ca.trusted(secrets))
    ssh.agent(state_dir, target, "door-certificate", given, Nothing)


def reach(state_dir: Path, name: str, address: str, door: int, *, timeout: float) -> ssl.SSLSocket:
    """A connection through this very machine's door, within `timeout` seconds, or OSError.

    That the door refused us is known with the first answer only, as TLS 1.3 has it: an OSError again.
    """
    return doorway.reach(_context(state_dir), name, (address, door), timeout=timeout)


def look(state_dir: Path, name: str, address: str, door: int, password: str, *, timeout: float) -> Frame:
    """One whole frame of the desktop behind the door, all within `timeout` seconds."""
    ends = time.monotonic() + timeout
    with reach(state_dir, name, address, door, timeout=timeout) as connection:
        return rfb.look(connection, password, ends=ends)


def warm(state_dir: Path) -> None:
    """Do here once what every child would, so that they share its memory and need no time for it; again and again, so
    that they find it done after the certificate was renewed."""
    global _greeted
    fresh = _context(state_dir)
    if _greeted is not fresh:
        doorway.greet(fresh, shown(state_dir))
        _greeted = fresh


def shown(state_dir: Path) -> Shown:
    """What the gateway shows to doors, and whom it believes. What was read last serves as long as its files are the
    same, and an hour at most."""
    global _read
    secrets = state_dir.absolute() / "secrets"
    mark = desktop_ca.mark(secrets)
    if _read is None or _read[0] != mark or time.time() > _read[1].mark + _GOOD_FOR:
        login = str(desktop_ca.gateway_login(secrets))
        _read = mark, Shown(login, desktop_ca.trusted(secrets), time.time())
    return _read[1]


def _context(state_dir: Path) -> ssl.SSLContext:
    """The gateway's side, as it is shown now."""
    global _made
    now = shown(state_dir)
    if _made is None or _made[0] != now:
        _made = now, doorway.context(now)
    return _made[1]
