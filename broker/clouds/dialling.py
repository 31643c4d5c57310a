"""What a machine is told that dials out: ssh's own settings for a reverse tunnel, and whom to believe at its other end.

Nothing of it is secret. The machine dials in with its own host key, which its cloud tells us, and so proves that it is
this machine. What goes through the tunnel is TLS or SSH already: it is trusted with nothing.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from agents.protocol import DOORS, SSH_PORT, TUNNELLED_SSH_PORT
from broker.clouds.adapter import Dial

FOLDER = "/etc/beamdesk/tunnel"
CONFIG, KNOWN_HOSTS = f"{FOLDER}/ssh_config", f"{FOLDER}/known_hosts"
ENDS = {TUNNELLED_SSH_PORT: SSH_PORT, **{door: door for door in DOORS}}  # our port -> the machine's own
SILENT = 5  # seconds of silence, three times, after which a machine dials again


def dial(to: str, account: str, gateway: str, authorities: str, address: str) -> Dial:
    """For the machine whose end is `address`: it dials `account` at `to`, and believes nobody there but `gateway`, by a
    certificate of one of the `authorities` (public keys, a line each)."""
    host, port = to.rsplit(":", 1)
    settings = {
        "HostName": host,
        "Port": port,
        "User": account,
        "HostKeyAlias": gateway,
        "UserKnownHostsFile": KNOWN_HOSTS,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentityFile": "/etc/ssh/ssh_host_ed25519_key",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "ExitOnForwardFailure": "yes",
        "ServerAliveInterval": str(SILENT),
        "ServerAliveCountMax": "3",
        "LogLevel": "ERROR",
    }
    ends = [f"RemoteForward {address}:{ours} 127.0.0.1:{own}" for ours, own in ENDS.items()]
    lines = [
        "Host tunnel",
        *(f"    {name} {value}" for name, value in settings.items()),
        *(f"    {end}" for end in ends),
    ]
    return Dial(to, {CONFIG: "\n".join(lines) + "\n", KNOWN_HOSTS: known_hosts(gateway, authorities)})


def known_hosts(gateway: str, authorities: str) -> str:
    """Whom the machine believes at the tunnel's other end."""
    return "".join(f"@cert-authority {gateway} {line}\n" for line in authorities.splitlines())


def says_ssh(host: str, port: int, *, timeout: float) -> bool:
    """Whether an SSH server greets there."""
    with suppress(OSError), socket.create_connection((host, port), timeout=timeout) as connection:
        return connection.recv(4) == b"SSH-"
    return False
