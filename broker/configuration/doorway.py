"""Through a machine's door, with what a gateway shows there. It loads little, as who carries a desktop does
(gateways/rdp_carriers.py); for everybody else it is in doors.py."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from typing import NamedTuple

_KNOCKS_FOR, _PAUSE = 0.5, 0.05  # seconds: a door that takes a renewed certificate is shut for a moment


class Shown(NamedTuple):
    """What a gateway shows, as a file with key and certificate, and whom it believes, as PEM; `mark` changes when one
    of them does."""

    login: str
    authorities: str
    mark: float


def context(shown: Shown) -> ssl.SSLContext:
    """The gateway's side of TLS with machines' doors, which believes a machine of the name that it asks for."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_verify_locations(cadata=shown.authorities)
    made.load_cert_chain(shown.login)
    return made


def reach(context: ssl.SSLContext, name: str, where: tuple[str, int], *, timeout: float) -> ssl.SSLSocket:
    """A connection through this very machine's door, within `timeout` seconds, or OSError.

    That the door refused us is known with the first answer only, as TLS 1.3 has it: an OSError again.
    """
    began = time.monotonic()
    while True:
        try:
            made = _through(context, name, where, began + timeout)
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


def greet(client: ssl.SSLContext, shown: Shown) -> None:
    """A handshake with ourselves, in memory, so that a fork finds done what the first one does. It ends in a refusal: a
    gateway is no machine."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown.login)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there, server_hostname="nobody"), server.wrap_bio(there, back, server_side=True)
    for end in (*ends, *ends):
        with suppress(ssl.SSLError):
            end.do_handshake()
