"""The machine's RDP servers: two doors to the session's one desktop, which differ in what they let through.

The gateway chooses one at each connection, by what the policy says then. So nothing of a policy is in a machine, and no
change of it has to be told to one.
"""

from __future__ import annotations

import re
from pathlib import Path

from agents.machine.seat import RDP_PORT, RDP_PORT_WITHOUT_CLIPBOARD, Seat
from agents.machine.state import replace_file

SETTINGS = Path("/etc/beamdesk/xrdp.ini")
SERVERS = {"rdp": RDP_PORT, "rdp-without-clipboard": RDP_PORT_WITHOUT_CLIPBOARD}


def settings(text: str, port: int) -> str:
    """xrdp's settings for the server on that port, made of those that machines have."""
    text = re.sub(rf"(?m)^(port=.*){RDP_PORT}$", rf"\g<1>{port}", text)
    return text if port == RDP_PORT else re.sub(r"(?m)^cliprdr=.*$", "cliprdr=false", text)


def command(seat: Seat, name: str) -> list[str]:
    """The xrdp of that name, with settings of its own."""
    file = seat.folder / f"{name}.ini"
    replace_file(file, settings(SETTINGS.read_text(), SERVERS[name]).encode(), mode=0o644)
    return ["xrdp", "--nodaemon", "--config", str(file)]
