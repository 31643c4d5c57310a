"""What cloud-init is told at a machine's first boot. Nothing in it is secret: every program on the machine may read it.

It lets in the broker, by certificates of its authority, and nobody else; and it has the machine write its host keys to
the console, where the cloud's API shows them: so the broker knows for certain whom it talks to.
"""

from __future__ import annotations

import json
import re

from broker.clouds.adapter import PRINCIPAL, Dial
from broker.clouds.dialling import CONFIG as DIAL_CONFIG

_AUTHORITY = "/etc/ssh/beamdesk_ca.pub"
_PRINCIPALS = "/etc/ssh/beamdesk_principals"
_SETTINGS = "/etc/ssh/sshd_config.d/00-beamdesk.conf"
_SSHD = f"""\
TrustedUserCAKeys {_AUTHORITY}
AuthorizedPrincipalsFile {_PRINCIPALS}
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
_KEY = re.compile(r"^(ssh-ed25519 [A-Za-z0-9+/]+=*)(?:\s|$)")
_BEGIN, _END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"


# It waits for nothing but its own files: whoever takes them away, as for an image, ends it at the next start.
_DIAL_UNIT = "/etc/systemd/system/beamdesk-tunnel.service"
_DIAL = f"""\
[Unit]
Description=Beamdesk reaches this machine by what it dials
After=network-online.target
Wants=network-online.target
ConditionPathExists={DIAL_CONFIG}
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/ssh -F {DIAL_CONFIG} -N tunnel
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
"""
_START_DIAL = "systemctl daemon-reload; systemctl enable beamdesk-tunnel; systemctl restart beamdesk-tunnel"


def cloud_config(ssh_ca: str, *commands: str, dial: Dial | None = None) -> str:
    """The user-data of a machine into which certificates of `ssh_ca` (an OpenSSH public key) may log in as root.

    `commands` are the shell's, and run at the end. With `dial` the machine dials out, and again whenever that ends.

    As cloud-init's documentation has it (modules Write Files, SSH, Runcmd). The files of sshd_config.d are read first,
    and the first value counts, so what the image or cloud-init's own drop-in says of passwords does not.
    """
    files = {_AUTHORITY: f"{ssh_ca.strip()}\n", _PRINCIPALS: f"{PRINCIPAL}\n", _SETTINGS: _SSHD}
    if dial is not None:
        files |= {**dial.files, _DIAL_UNIT: _DIAL}
        commands = (*commands, _START_DIAL)
    told = {
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_genkeytypes": ["ed25519"],
        "ssh": {"emit_keys_to_console": True},
        "write_files": [{"path": path, "content": text, "permissions": "0644"} for path, text in files.items()],
        "runcmd": [["sh", "-c", command] for command in ("systemctl reload ssh || systemctl reload sshd", *commands)],
    }
    return "#cloud-config\n" + json.dumps(told, indent=1)  # JSON is YAML, too


def host_key(console: str) -> str | None:
    """The host key that cloud-init wrote to this console last, as `ssh-ed25519 BASE64`; None where there is none."""
    _, found, keys = console.rpartition(_BEGIN)
    if not found or _END not in keys:
        return None
    lines = (line.strip() for line in keys.partition(_END)[0].splitlines())
    return next((match[1] for match in map(_KEY.match, lines) if match), None)
