"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket

# A port from which connections are made could be taken while its server restarts.
BELOW_EPHEMERAL = range(10_000, 32_768)


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens, and that the kernel gives to nobody by itself."""
    while True:
        port = random.choice(BELOW_EPHEMERAL)
        with socket.socket() as probe:
            if probe.connect_ex((host, port)):
                return port
