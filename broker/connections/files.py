"""Connection files: pure text. An .rdp file that opens by a double click, an OpenSSH file that needs nothing else."""

from __future__ import annotations

import base64
import re

# Of RDP clients: no redirection of disks or printers, the clipboard both ways, the window's own size. A client does not
# connect again by itself, because its ticket was good for one connection.
_RDP_SETTINGS = (
    "prompt for credentials:i:0",
    "promptcredentialonce:i:1",
    "enablecredsspsupport:i:0",
    "negotiate security layer:i:1",
    "screen mode id:i:1",
    "desktopwidth:i:1600",
    "desktopheight:i:900",
    "session bpp:i:32",
    "smart sizing:i:1",
    "dynamic resolution:i:1",
    "redirectclipboard:i:1",
    "redirectprinters:i:0",
    "redirectdrives:i:0",
    "drivestoredirect:s:",
    "audiomode:i:2",
    "autoreconnection enabled:i:0",
    "gatewayusagemethod:i:0",
)
_PLAIN = re.compile(r"[A-Za-z0-9._@-]+")


def rdp(*, address: str, user: str, password: str, ticket: str, named_by_certificate: bool) -> str:
    """The .rdp file. `address` is the gateway's, which reads the ticket from the first packet that comes with it.

    The user's name carries the password (or what stands for it) behind a unit separator (xrdp's token login), so no
    client asks for it: the ticket, which the network sees, gets one to the machine, and the password, which it does
    not see, into it.
    `named_by_certificate` says that a certificate of that address is shown: then a client warns of another one.
    """
    host, _, port = address.rpartition(":")
    full = f"{_plain(host)}:{_plain(port)}"
    lines = (
        f"full address:s:{full}",
        f"alternate full address:s:{full}",
        f"loadbalanceinfo:s:Cookie: msts={_plain(ticket)}",
        f"username:s:{_plain(user)}\x1f{_plain(password)}",
        f"authentication level:i:{2 if named_by_certificate else 0}",
    )
    return "\r\n".join((*lines, *_RDP_SETTINGS)) + "\r\n"


def ssh(
    *, session_id: int, address: str, host: str, user: str, private_key: str, certificate: str, host_ca: str, until: str
) -> str:
    """The OpenSSH file, for `ssh -F beamdesk-N.conf desktop`; needs OpenSSH 8.5 or newer.

    It brings its own key, certificate and host authority: on use the key is written to a file that only its owner
    can read, and hosts are known by their certificates, so there is no question to answer.
    """
    name = f"beamdesk-{session_id}"
    folder = "%d/.ssh"
    write = "; ".join(
        (
            "umask 077",
            f"mkdir -p '{folder}'",
            f"echo {_base64(private_key)} | base64 -d > '{folder}/{name}'",
            f"echo {_base64(certificate)} | base64 -d > '{folder}/{name}-cert.pub'",
        )
    )
    return f"""\
# Beamdesk, session {session_id}. Use:  ssh -F {name}.conf desktop
# Copy files:  sftp -F {name}.conf desktop
# The key in this file opens this one session, until {until}. Keep it to yourself.
Match originalhost desktop exec "{write}"
    HostName {_plain(address)}
    User {_plain(user)}
    HostKeyAlias {_plain(host)}
    IdentityFile "{folder}/{name}"
    CertificateFile "{folder}/{name}-cert.pub"
    IdentitiesOnly yes
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    KnownHostsCommand /bin/echo @cert-authority * {host_ca.strip()}
    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ServerAliveInterval 15
"""


def _base64(text: str) -> str:
    return base64.b64encode((text.strip() + "\n").encode()).decode()


def _plain(value: str) -> str:
    """The value, if nothing in it could begin another setting."""
    if not _PLAIN.fullmatch(value):
        raise ValueError(f"{value!r} cannot stand in a connection file")
    return value
