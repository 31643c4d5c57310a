"""Connection files: pure text. An .rdp file that opens by a double click, an OpenSSH file that needs nothing else."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

# Of RDP clients: no redirection of disks or printers, the window's own size, which the desktop follows: no scaling
# (smart sizing), for a client does the one or the other. A client does not connect again by itself, because its ticket
# was good for one connection.
_RDP_SETTINGS = (
    "prompt for credentials:i:0",
    "promptcredentialonce:i:1",
    "enablecredsspsupport:i:0",
    "negotiate security layer:i:1",
    "screen mode id:i:1",
    "desktopwidth:i:1600",
    "desktopheight:i:900",
    "session bpp:i:32",
    "smart sizing:i:0",
    "dynamic resolution:i:1",
    "redirectprinters:i:0",
    "redirectdrives:i:0",
    "drivestoredirect:s:",
    "audiomode:i:2",
    "autoreconnection enabled:i:0",
    "gatewayusagemethod:i:0",
)
_PLAIN = re.compile(r"[A-Za-z0-9._@-]+")


def rdp(*, address: str, user: str, password: str, ticket: str, named_by_certificate: bool, clipboard: bool) -> str:
    """The .rdp file. `address` is the gateway's, which reads the ticket from the first packet that comes with it.

    The user's name carries the password (or what stands for it) behind a unit separator (xrdp's token login), so no
    client asks for it: the ticket, which the network sees, gets one to the machine, and the password, which it does
    not see, into it.
    `clipboard` is whether there is one: clients then know that copying does nothing.
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
        f"redirectclipboard:i:{int(clipboard)}",
    )
    return "\r\n".join((*lines, *_RDP_SETTINGS)) + "\r\n"


@dataclass(frozen=True)
class Gateway:
    """The SSH gateway as a client sees it: where, as which account, and whom its host certificate is of."""

    host: str
    port: int
    account: str
    name: str


def ssh(
    *,
    session_id: int,
    address: str,
    port: int,
    host: str,
    user: str,
    gateway: Gateway,
    certificate: str,
    host_cas: str,
    until: str,
    own_key: bool,
) -> str:
    """The OpenSSH file, for `ssh -F beamdesk-N.conf desktop`; needs OpenSSH 8.5 or newer, and holds no private key.

    Both hosts on the way, the gateway and the machine, take the same certificate, and are known by theirs, so there is
    no question to answer. The certificate is written beside the user's keys on use, because ssh reads it from a file
    only. With `own_key` its private key lies there too, as `key_file()`; else ssh looks where it always does.

    A ProxyCommand and no ProxyJump, which breaks where the file's own name has a space or a bracket in it, as that of
    a second download has.
    """
    key = f"~/.ssh/{key_file(session_id)}"
    login = {
        **({"IdentityFile": key, "IdentitiesOnly": "yes"} if own_key else {}),
        "CertificateFile": f"{key}-cert.pub",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "KnownHostsCommand": _authorities(host_cas),
        "UserKnownHostsFile": "/dev/null",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ServerAliveInterval": "15",
    }
    jump = {"HostKeyAlias": _plain(gateway.name), **login}
    options = " ".join(f"-o '{name}={value}'" for name, value in jump.items())
    name = f"beamdesk-{session_id}"
    settings = "\n".join(f"    {name} {value}" for name, value in login.items())
    way = f"-l {_plain(gateway.account)} -p {gateway.port} {options} -W '[%h]:%p' {_plain(gateway.host)}"
    return f"""\
# Beamdesk, session {session_id}. Use:  ssh -F {name}.conf desktop
# Copy files:  sftp -F {name}.conf desktop
# It opens this one session, until {until}.
Match originalhost desktop exec "{_write(session_id, "-cert.pub", certificate)}"
    HostName {_plain(address)}
    Port {port}
    User {_plain(user)}
    HostKeyAlias {_plain(host)}
    ProxyCommand ssh -F none {way}
{settings}
"""


def key_file(session_id: int) -> str:
    """The name of the private key that was made for this session alone, in the user's .ssh folder."""
    return f"beamdesk-{session_id}"


def _write(session_id: int, ending: str, content: str) -> str:
    """A shell's line that brings the file where it is not yet: it works in every user's shell, fish too, and leaves a
    file alone that another ssh may be reading."""
    path, text = f"'%d/.ssh/{key_file(session_id)}{ending}'", f"echo {_base64(content)} | base64 -d"
    return f"umask 077; mkdir -p '%d/.ssh'; {text} 2> /dev/null | cmp -s - {path} || {text} > {path}"


def _authorities(host_cas: str) -> str:
    """A command that says whom to believe; ssh runs it without a shell."""
    lines = [f"@cert-authority * {_public(line)}" for line in host_cas.splitlines()]
    if len(lines) == 1:
        return f"/bin/echo {lines[0]}"
    return '/usr/bin/printf "' + "".join(f"{line}\\n" for line in lines) + '"'


def _public(key: str) -> str:
    """A public key without its comment."""
    return " ".join(key.split()[:2])


def _base64(text: str) -> str:
    return base64.b64encode((text.strip() + "\n").encode()).decode()


def _plain(value: str) -> str:
    """The value, if nothing in it could begin another setting."""
    if not _PLAIN.fullmatch(value):
        raise ValueError(f"{value!r} cannot stand in a connection file")
    return value
