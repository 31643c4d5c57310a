"""A machine under test: what the broker asks of it, what a user does on it, and what a viewer sees."""

from __future__ import annotations

import shlex
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from agents.protocol import (
    VNC_DOOR,
    AttachAnswer,
    AttachRequest,
    Nothing,
    NotifyRequest,
    ProbeAnswer,
    ProbeRequest,
    StatusAnswer,
)
from broker.configuration import doors, ssh
from broker.configuration.ssh import SshTarget

PASSWORD = "Kj3_fh-29dLq8sPz"
USER, UID, SESSION = "alice", 20001, "42"


@dataclass
class Desk:
    """One machine, and the session that it is given to."""

    state_dir: Path
    target: SshTarget
    volume: str = ""
    request: AttachRequest = field(init=False)

    def __post_init__(self) -> None:
        self.request = AttachRequest(
            session=SESSION,
            user=USER,
            uid=UID,
            full_name="Alice Müller",
            password=PASSWORD,
            home=f"/home/{USER}",
            geometry="1280x800",
            lease_ends="2099-01-01T00:00:00+00:00",
            principals=(f"session-{SESSION}",),
        )

    def attach(self, request: AttachRequest | None = None) -> AttachAnswer:
        return ssh.agent(self.state_dir, self.target, "attach", request or self.request, AttachAnswer)

    def detach(self) -> None:
        ssh.agent(self.state_dir, self.target, "detach", Nothing(), Nothing)

    def probe(self) -> ProbeAnswer:
        return ssh.agent(
            self.state_dir, self.target, "probe-start", ProbeRequest(PASSWORD, "1280x800"), ProbeAnswer, timeout=60
        )

    def end_probe(self) -> None:
        ssh.agent(self.state_dir, self.target, "probe-stop", Nothing(), Nothing)

    def notify(self, title: str, text: str) -> None:
        ssh.agent(self.state_dir, self.target, "notify", NotifyRequest(title, text, "critical"), Nothing)

    def status(self) -> StatusAnswer:
        return ssh.agent(self.state_dir, self.target, "status", Nothing(), StatusAnswer)

    def ssh_line(self, command: str) -> list[str]:
        """An ssh of its own, as root."""
        return ["ssh", *ssh.options(self.state_dir, self.target), f"root@{self.target.address}", command]

    def root(self, script: str) -> str:
        """What a shell script prints that root runs on the machine; it may fail."""
        return ssh.run(self.state_dir, self.target, ["sh", "-c", script]).stdout.decode()

    def user(self, script: str) -> str:
        """What a shell script prints that the user runs in the desktop; it may fail."""
        seat = "/run/beamdesk/session"
        variables = {
            "DISPLAY": ":1",
            "XAUTHORITY": f"{seat}/xauthority",
            "XDG_RUNTIME_DIR": f"{seat}/runtime",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={seat}/runtime/bus",
            "HOME": f"/home/{USER}",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        }
        words = [f"{name}={value}" for name, value in variables.items()]
        account = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
        return self.root(shlex.join([*account, "env", "-i", "-C", f"/home/{USER}", *words, "sh", "-c", script]))

    def pids(self, name: str) -> set[str]:
        """The user's processes of this name."""
        return set(self.root(f"pgrep -u {USER} -x {name}").split())

    def windows(self, window_class: str) -> list[str]:
        """The shown windows of this class."""
        return self.user(f"xdotool search --onlyvisible --class {window_class}").split()

    def viewer(self) -> ssl.SSLSocket:
        """A connection to the desktop, as the gateway makes it."""
        return doors.reach(self.state_dir, self.target.name, self.target.address, VNC_DOOR, timeout=20)

    def frame(self, door: int = VNC_DOOR, password: str = PASSWORD) -> Image.Image:
        """What a viewer sees."""
        where = (self.state_dir, self.target.name, self.target.address, door)
        frame = doors.look(*where, password, timeout=10)
        return Image.frombuffer("RGB", (frame.width, frame.height), frame.pixels, "raw", "BGRX", 0, 1)
