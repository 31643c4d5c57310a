"""Debian's OpenSSH sshd as the SSH gateway's protocol: its configuration, whom it lets in, and what its log says.

It runs without root, as the gateway's own account, once for each connection. It can do nothing but forward: to the SSH
port of the one machine that a certificate's own line names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from broker.configuration import ca
from broker.errors import BadSettings, ServiceDown
from broker.sessions.certificates import Live, gateway_principal

SSH_PORT = 22  # of every machine; nothing else is ever reached
GRACE = 60  # seconds to come in: somebody may have to type a passphrase, or touch a security key
_NOT = (  # what this sshd never does, whatever a client asks for
    *("PasswordAuthentication", "KbdInteractiveAuthentication", "HostbasedAuthentication", "GSSAPIAuthentication"),
    *("AllowStreamLocalForwarding", "AllowAgentForwarding", "X11Forwarding", "PermitTunnel", "GatewayPorts"),
    *("PermitTTY", "PermitUserRC", "PermitUserEnvironment", "UsePAM", "UseDNS", "PrintMotd", "PrintLastLog"),
)
_ACCEPTED = re.compile(
    r"Accepted publickey for \S+ from \S+ port \d+ ssh2: \S+-CERT \S+ ID [A-Za-z0-9 _-]+ \(serial (\d+)\) CA \S+ \S+"
)


def program() -> str:
    """Where sshd is, or ServiceDown."""
    found = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/sbin")
    if found is None:
        raise ServiceDown("sshd is not installed.", hint="Install the package openssh-server.")
    return found


def configure(folder: Path, secrets: Path, account: str) -> Path:
    """Write the configuration, and try it; its path."""
    draft = folder / f".sshd_config.{os.getpid()}"
    draft.write_text(configuration(*today(secrets), account))
    tried = subprocess.run([program(), "-t", "-f", str(draft)], capture_output=True, text=True)
    if tried.returncode != 0:
        raise BadSettings(f"sshd refuses its configuration: {tried.stderr.strip()}", hint=f"See {draft}.")
    return draft.rename(folder / "sshd_config")


def today(secrets: Path) -> tuple[Path, ca.Login]:
    """Whose certificates open, and this gateway's own: files that are brought up to date, as keys may be replaced."""
    return ca.trusted_users(secrets), ca.gateway_host(secrets)


def configuration(user_ca: Path, host: ca.Login, account: str) -> str:
    """sshd's configuration. StrictModes would refuse folders below /tmp; ours is open to our own account only."""
    settings = {
        "HostKey": _quoted(host.key),
        "HostCertificate": _quoted(host.certificate),
        "TrustedUserCAKeys": _quoted(user_ca),
        "AuthorizedKeysFile": "none",
        "AuthenticationMethods": "publickey",
        "AllowUsers": account,
        "PermitRootLogin": "forced-commands-only",  # for a demo that runs as root as a whole
        "StrictModes": "no",
        "AllowTcpForwarding": "local",
        "MaxSessions": "0",
        "ForceCommand": "/bin/false",
        "LoginGraceTime": str(GRACE),
        "ClientAliveInterval": "30",
        "ClientAliveCountMax": "4",
        "PidFile": "none",
        "LogLevel": "INFO",
        **dict.fromkeys(_NOT, "no"),
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def command(configuration: Path, principals: Path) -> list[str]:
    """An sshd for the one connection that is its standard input and output; its standard error hears what it does."""
    whom = _quoted(principals).replace("%", "%%")  # here, one that stands alone would begin a token
    return [program(), "-i", "-e", "-f", str(configuration), "-o", f"AuthorizedPrincipalsFile={whom}"]


def principals(live: Iterable[Live]) -> str:
    """Whom sshd lets in, a line each, and the one place that it may go to."""
    return "".join(
        f'restrict,port-forwarding,permitopen="{_place(one.address)}",command="/bin/false"'
        f" {gateway_principal(one.serial)}\n"
        for one in live
    )


def accepted(message: str) -> int | None:
    """The serial of the certificate that came in, where this message of sshd's says so.

    It must be a whole message, as sshd wrote it: what a client says of itself stands in the middle of others, and may
    have line breaks in it.
    """
    found = _ACCEPTED.fullmatch(message.removesuffix("\r\n"))
    return int(found[1]) if found else None


def _place(address: str) -> str:
    return f"[{address}]:{SSH_PORT}" if ":" in address else f"{address}:{SSH_PORT}"


def _quoted(path: Path) -> str:
    """A path as sshd reads it, with spaces in it."""
    return f'"{path}"'
