"""A seat: one display of this machine with the account that uses it; where its files are and how its parts start.

There are two: the session's, on :1, and the probe's, on :2. Both run the very same desktop, the one that the
machine's environment has left in /etc/beamdesk/desktop.json.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agents.machine import x11
from agents.machine.faults import AgentError
from agents.machine.state import RUN, replace_file

DESKTOP = Path("/etc/beamdesk/desktop.json")
LOGS = Path("/var/log/beamdesk")
RDP_PORT, RDP_PORT_WITHOUT_CLIPBOARD = 3389, 3390  # xrdp's, on loopback; /etc/beamdesk/xrdp.ini has the first
X_SOCKETS = Path("/tmp/.X11-unix")  # noqa: S108, the protocol's own address
LARGEST_CLIPBOARD = 4 * 1024 * 1024  # bytes that a viewer may put into the desktop's clipboard


@dataclass(frozen=True)
class Look:
    """A sign that a desktop is painted: a shown window of this class, or the whole screen, has so many colours."""

    window_class: str | None
    min_colours: int


@dataclass(frozen=True)
class Desktop:
    """What an environment's desktop is: the command that runs as long as it does, and how to see that it is there.

    `environment` is for all programs of the seat, those that the message bus starts too.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    painted: tuple[Look, ...]


def desktop() -> Desktop:
    """The desktop of this machine's environment."""
    try:
        values = json.loads(DESKTOP.read_text())
        painted = tuple(Look(**look) for look in values["painted"])
        return Desktop(values["name"], tuple(values["command"]), values["environment"], painted)
    except FileNotFoundError:
        raise AgentError("not-configured", f"This machine has no {DESKTOP}: no environment is installed.") from None
    except (ValueError, TypeError, KeyError) as error:
        raise AgentError("not-configured", f"{DESKTOP} cannot be used: {error!r}") from None


@dataclass(frozen=True)
class Seat:
    """One display with its account."""

    name: str
    display: int
    uid: int
    user: str
    home: str
    geometry: str
    rdp: bool

    @property
    def vnc_port(self) -> int:
        return 5900 + self.display

    @property
    def folder(self) -> Path:
        return RUN / self.name

    @property
    def authority(self) -> Path:
        return self.folder / "xauthority"

    @property
    def password_file(self) -> Path:
        return self.folder / "vnc-password"

    @property
    def runtime_folder(self) -> Path:
        """XDG_RUNTIME_DIR; not /run/user, which logind empties and hides when the same user logs in by SSH."""
        return self.folder / "runtime"

    @property
    def sound_server(self) -> Path:
        """Where programs find the sound server; /etc/pulse/client.conf.d/beamdesk.conf names it, too."""
        return self.folder / "sound-server"

    @property
    def sound(self) -> Path:
        """Where who may listen gets the sound."""
        return self.folder / "sound"

    def log(self, program: str) -> Path:
        return LOGS / f"{self.name}-{program}.log"

    def environment(self) -> dict[str, str]:
        """What the programs of this seat find in their environment."""
        return {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime_folder}/bus",
            "DISPLAY": f":{self.display}",
            "HOME": self.home,
            "LANG": "C.UTF-8",
            "LOGNAME": self.user,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
            "SHELL": "/bin/bash",
            "USER": self.user,
            "XAUTHORITY": str(self.authority),
            "XDG_RUNTIME_DIR": str(self.runtime_folder),
            "XDG_SESSION_TYPE": "x11",
            **desktop().environment,
        }

    def prepare(self, password: str) -> None:
        """Make the seat's folders, its display's cookie and its VNC password; may be repeated."""
        X_SOCKETS.mkdir(exist_ok=True)
        X_SOCKETS.chmod(0o1777)
        for folder in (RUN, LOGS, self.folder):
            folder.mkdir(mode=0o755, exist_ok=True)
        self.runtime_folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(self.runtime_folder, self.uid, self.uid)
        if not self.authority.exists():
            cookie = x11.authority(os.urandom(16))
            replace_file(self.authority, cookie, mode=0o600, uid=self.uid, gid=self.uid)
        replace_file(self.password_file, _obscured(password), mode=0o400, uid=self.uid, gid=self.uid)

    def open_display(self) -> x11.Display:
        """A connection to the seat's display; OSError or XError while it is not up."""
        return x11.Display(self.display, x11.cookie_of(self.authority))

    def clear(self) -> None:
        """Remove what prepare() made."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _obscured(password: str) -> bytes:
    """A VNC password file's content: eight characters, under a DES key that is the same everywhere and no secret."""
    key = "e84ad660c4721ae0"  # of vncpasswd, its bits mirrored as VNC does; three times DES with it is DES
    cipher = ["openssl", "enc", "-des-ede3-ecb", "-nopad", "-K", key * 3]
    run = subprocess.run(cipher, input=password.encode()[:8].ljust(8, b"\0"), capture_output=True, check=True)
    return run.stdout


def display_command(seat: Seat, ready: int) -> list[str]:
    """The X server that is the VNC server as well, on loopback; it writes to descriptor `ready` once it can be joined.

    It never locks an address out after failed logins: all viewers come from this machine's own address, and no
    password of this many random letters is guessed.
    """
    for left_over in (Path(f"/tmp/.X{seat.display}-lock"), X_SOCKETS / f"X{seat.display}"):  # noqa: S108
        left_over.unlink(missing_ok=True)
    return [
        *("Xtigervnc", f":{seat.display}", "-auth", str(seat.authority), "-nolisten", "tcp", "-noreset"),
        *("-displayfd", str(ready), "-geometry", seat.geometry, "-depth", "24", "-desktop", "Beamdesk"),
        *(
            "-localhost",
            "-rfbport",
            str(seat.vnc_port),
            "-SecurityTypes",
            "VncAuth",
            "-PasswordFile",
            str(seat.password_file),
        ),
        *("-BlacklistThreshold", "1000000", "-AlwaysShared", "-AcceptSetDesktopSize", "-AcceptCutText", "-SendCutText"),
        *("-MaxCutText", str(LARGEST_CLIPBOARD)),
    ]


def bus_command(seat: Seat, ready: int) -> list[str]:
    """The desktop's message bus; it writes to descriptor `ready` once it can be joined."""
    (seat.runtime_folder / "bus").unlink(missing_ok=True)
    address = f"--address={seat.environment()['DBUS_SESSION_BUS_ADDRESS']}"
    return ["dbus-daemon", "--session", "--nofork", "--nopidfile", address, f"--print-address={ready}"]


def groups_of(uid: int) -> tuple[int, list[int]]:
    """An account's group and its further groups; its own number and none while it does not exist yet."""
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return uid, []
    return account.pw_gid, os.getgrouplist(account.pw_name, account.pw_gid)


def end_processes_of(uid: int) -> None:
    """Kill every process of an account, at once and without a chance to fork away."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        try:
            os.kill(-1, 9)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
