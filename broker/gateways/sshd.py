"""Debian's OpenSSH sshd as the SSH gateway's protocol: its configuration, whom it lets in, and what its log says.

It runs without root, as the gateway's own account, once for each connection. It can do nothing but forward: to the SSH
port of the one machine that a certificate's own line names.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from broker.configuration import ca
from broker.errors import BadSettings, ServiceDown
from broker.sessions.certificates import Live, gateway_principal
from broker.settings import Settings

GRACE = 60  # seconds to come in: somebody may have to type a passphrase, or touch a security key
_NOT = (  # what no sshd of ours does, whatever a client asks for
    *("PasswordAuthentication", "KbdInteractiveAuthentication", "HostbasedAuthentication", "GSSAPIAuthentication"),
    *("AllowStreamLocalForwarding", "AllowAgentForwarding", "X11Forwarding", "PermitTunnel"),
    *("PermitTTY", "PermitUserRC", "PermitUserEnvironment", "UsePAM", "UseDNS", "PrintMotd", "PrintLastLog"),
)
_ACCEPTED = re.compile(
    r"Accepted publickey for \S+ from \S+ port \d+ ssh2: \S+-CERT \S+ ID [A-Za-z0-9 _-]+ \(serial (\d+)\) CA \S+ \S+"
)


def account_of(settings: Settings) -> str:
    """Our own account, which is the only one that an sshd without root can serve; the settings must say the same."""
    told, own = settings.ssh_account, pwd.getpwuid(os.getuid()).pw_name
    if told != own:
        raise BadSettings(f"ssh.account = {told!r}: this gateway runs as {own}.", hint="Let both be the same.")
    return own


def program() -> str:
    """Where sshd is, or ServiceDown."""
    found = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/sbin")
    if found is None:
        raise ServiceDown("sshd is not installed.", hint="Install the package openssh-server.")
    return found


def configure(folder: Path, secrets: Path, account: str) -> Path:
    """Write the SSH gateway's configuration, and try it; its path."""
    return put(folder, configuration(*today(secrets), account))


def put(folder: Path, text: str) -> Path:
    """Write a configuration, and try it; its path."""
    draft = folder / f".sshd_config.{os.getpid()}"
    draft.write_text(text)
    tried = subprocess.run([program(), "-t", "-f", str(draft)], capture_output=True, text=True)
    if tried.returncode != 0:
        raise BadSettings(f"sshd refuses its configuration: {tried.stderr.strip()}", hint=f"See {draft}.")
    return draft.rename(folder / "sshd_config")


def today(secrets: Path) -> tuple[Path, ca.Login]:
    """Whose certificates open, and this gateway's own: files that are brought up to date, as keys may be replaced."""
    return ca.trusted_users(secrets), ca.gateway_host(secrets)


def configuration(user_ca: Path, host: ca.Login, account: str) -> str:
    """sshd's configuration. StrictModes would refuse folders below /tmp; ours is open to our own account only."""
    own = {"TrustedUserCAKeys": quoted(user_ca), "AuthorizedKeysFile": "none", "LoginGraceTime": str(GRACE)}
    own |= {
        "AllowTcpForwarding": "local",
        "GatewayPorts": "no",
        "ClientAliveInterval": "30",
        "ClientAliveCountMax": "4",
    }
    return forwarding_alone(host, account, own)


def forwarding_alone(host: ca.Login, account: str, own: Mapping[str, str]) -> str:
    """The configuration of an sshd that shows this host key, and lets keys or certificates forward, and nothing else;
    `own` says which, and where."""
    told = {
        "HostKey": quoted(host.key),
        "HostCertificate": quoted(host.certificate),
        "AuthenticationMethods": "publickey",
        "AllowUsers": account,
        "PermitRootLogin": "forced-commands-only",  # for a demo that runs as root as a whole
        "StrictModes": "no",
        "MaxSessions": "0",
        "ForceCommand": "/bin/false",
        "PidFile": "none",
        "LogLevel": "INFO",
        **dict.fromkeys(_NOT, "no"),
        **own,
    }
    return "".join(f"{name} {value}\n" for name, value in told.items())


def command(configuration: Path, principals: Path) -> list[str]:
    """An sshd for the one connection that is its standard input and output; its standard error hears what it does."""
    whom = quoted(principals).replace("%", "%%")  # here, one that stands alone would begin a token
    return [program(), "-i", "-e", "-f", str(configuration), "-o", f"AuthorizedPrincipalsFile={whom}"]


def principals(live: Iterable[Live]) -> str:
    """Whom sshd lets in, a line each, and the one place that it may go to."""
    return "".join(
        f'restrict,port-forwarding,permitopen="{_place(one)}",command="/bin/false" {gateway_principal(one.serial)}\n'
        for one in live
    )


def accepted(message: str) -> int | None:
    """The serial of the certificate that came in, where this message of sshd's says so.

    It must be a whole message, as sshd wrote it: what a client says of itself stands in the middle of others, and may
    have line breaks in it.
    """
    found = _ACCEPTED.fullmatch(message.removesuffix("\r\n"))
    return int(found[1]) if found else None


def _place(one: Live) -> str:
    return f"[{one.address}]:{one.port}" if ":" in one.address else f"{one.address}:{one.port}"


def quoted(path: Path) -> str:
    """A path as sshd reads it, with spaces in it."""
    return f'"{path}"'
