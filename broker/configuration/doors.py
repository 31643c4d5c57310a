"""Machines' doors: mutual TLS before VNC and RDP. Every byte between the broker and a desktop goes through reach()."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

from agents.protocol import DoorCertificate, DoorRequest, Nothing
from broker import rfb
from broker.configuration import desktop_ca, ssh
from broker.configuration.ssh import SshTarget
from broker.rfb import Frame


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
    context = _context(state_dir.absolute() / "secrets")
    ends = time.monotonic() + timeout
    connection = socket.create_connection((address, door), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(max(0.001, ends - time.monotonic()))
    made = context.wrap_socket(connection, server_hostname=name)
    made.settimeout(timeout)
    return made


def look(state_dir: Path, name: str, address: str, door: int, password: str, *, timeout: float) -> Frame:
    """One whole frame of the desktop behind the door, all within `timeout` seconds."""
    ends = time.monotonic() + timeout
    with reach(state_dir, name, address, door, timeout=timeout) as connection:
        return rfb.look(connection, password, ends=ends)


def _context(secrets: Path) -> ssl.SSLContext:
    """The gateway's side: it believes a machine of this name only, and shows who it is itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=desktop_ca.trusted(secrets))
    context.load_cert_chain(desktop_ca.gateway_login(secrets))
    return context
