"""Machines' doors: mutual TLS before VNC and RDP. Every byte between the broker and a desktop goes through reach()."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

from agents.protocol import DoorCertificate, DoorRequest, Nothing
from broker import rfb
from broker.configuration import desktop_ca, ssh
from broker.configuration.ca import GATEWAY
from broker.configuration.ssh import SshTarget
from broker.rfb import Frame

_KNOCKS_FOR, _PAUSE = 0.5, 0.05  # seconds: a door that takes a renewed certificate is shut for a moment
_GOOD_FOR = 3600.0  # seconds for which what was read is not read again; a certificate has half a day left, or more
_last: tuple[tuple[int, ...], float, ssl.SSLContext] | None = None
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
    context, began = _context(state_dir.absolute() / "secrets"), time.monotonic()
    while True:
        try:
            made = _through(context, name, (address, door), began + timeout)
        except (ConnectionError, ssl.SSLEOFError):  # the latter at a tunnel's end, which is open while its door is shut
            if time.monotonic() - began > _KNOCKS_FOR:
                raise
            time.sleep(_PAUSE)
        else:
            made.settimeout(timeout)
            return made


def _through(context: ssl.SSLContext, name: str, where: tuple[str, int], ends: float) -> ssl.SSLSocket:
    connection = socket.create_connection(where, timeout=max(0.001, ends - time.monotonic()))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(max(0.001, ends - time.monotonic()))
    return context.wrap_socket(connection, server_hostname=name)


def look(state_dir: Path, name: str, address: str, door: int, password: str, *, timeout: float) -> Frame:
    """One whole frame of the desktop behind the door, all within `timeout` seconds."""
    ends = time.monotonic() + timeout
    with reach(state_dir, name, address, door, timeout=timeout) as connection:
        return rfb.look(connection, password, ends=ends)


def warm(state_dir: Path) -> None:
    """Do here once what every child would, so that they share its memory and need no time for it; again and again, so
    that they find it done after the certificate was renewed."""
    fresh = _context(state_dir.absolute() / "secrets")
    if _greeted is not fresh:
        _greet(fresh, desktop_ca.gateway_login(state_dir.absolute() / "secrets"))


def _context(secrets: Path) -> ssl.SSLContext:
    """The gateway's side: it believes a machine of this name only, and shows who it is itself. The last one serves as
    long as its files are the same, and an hour at most."""
    global _last
    mark = desktop_ca.mark(secrets)
    if _last is None or _last[0] != mark or time.time() > _last[1]:
        login, ends = desktop_ca.gateway_login(secrets), time.time() + _GOOD_FOR
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=desktop_ca.trusted(secrets))
        context.load_cert_chain(login)
        _last = mark, ends, context
    return _last[2]


def _greet(client: ssl.SSLContext, login: Path) -> None:
    """A handshake with ourselves, in memory, which ends in a refusal: a gateway is no machine."""
    global _greeted
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(login)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there, server_hostname=GATEWAY), server.wrap_bio(there, back, server_side=True)
    for end in (*ends, *ends):
        with suppress(ssl.SSLError):
            end.do_handshake()
    _greeted = client
