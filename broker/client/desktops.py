"""What the command does with desktops."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from broker.client import account
from broker.client.api import Api
from broker.errors import InvalidRequest, NotFound, SessionNotReady

LOOK_EVERY = 1.0  # seconds
FILE, RESIZES = "{file}", "/dynamic-resolution"  # FreeRDP 2 does not take the latter from the file
RDP_PROGRAMS = (
    ("xfreerdp3", FILE, RESIZES),
    ("xfreerdp", FILE, RESIZES),
    ("remmina", "-c", FILE),
    ("open", FILE),
    ("mstsc.exe", FILE),
)
Session = dict[str, Any]


def launch(api: Api, environment: str, *, another: bool, wish: dict[str, Any], say: Callable[[str], None]) -> Session:
    """Launch, and wait until it is ready; `say` is told each change. SessionNotReady where it failed."""
    session: Session = api.post("/sessions", environment=environment, another=another, **wish)
    told = ""
    while session["state"] in ("requested", "queued", "preparing"):
        if (words := _how_far(session)) != told:
            say(told := words)
        time.sleep(LOOK_EVERY)
        session = api.get(f"/sessions/{session['id']}")
    if session["state"] != "ready":
        why = session.get("failure") or session.get("end_reason") or "nobody knows why"
        raise SessionNotReady(f"Session {session['id']} is {session['state']}: {why}.", hint="Launch it again.")
    return session


def _how_far(session: Session) -> str:
    if session["state"] == "queued":
        wait = session.get("wait_seconds")
        about = f", about {wait / 60:.0f} min" if wait and wait > 90 else f", about {wait:.0f} s" if wait else ""
        return f"You wait: place {session.get('place') or '?'}{about}. Ctrl-C leaves it in the queue."
    return f"Session {session['id']} is being prepared."


def offer(api: Api) -> str:
    """The environments that one may launch, in one sentence."""
    names = [one["name"] for one in api.get("/environments")]
    return f"There are: {', '.join(names)}." if names else "None is offered to you."


def line(session: Session) -> str:
    """One line of a list."""
    left = session.get("seconds_left")
    ends = f"{left / 3600:.0f} h left" if session["state"] == "ready" and left else ""
    machine = (session.get("machine") or {}).get("name", "")
    return f"{session['id']:5}  {session['environment']:20} {session['state']:10} {machine:24} {ends}".rstrip()


def only(api: Api) -> int:
    """The one session that is ready. NotFound where there is none, InvalidRequest where there are several."""
    ready = [one for one in api.get("/sessions") if one["state"] == "ready"]
    if not ready:
        raise NotFound("You have no desktop that is ready.", hint="`beamdesk launch ENVIRONMENT` launches one.")
    if len(ready) > 1:
        listed = ", ".join(f"{one['id']} ({one['environment']})" for one in ready)
        raise InvalidRequest("You have several desktops.", hint=f"Say which: {listed}.")
    return int(ready[0]["id"])


def ssh(api: Api, session: int, command: Sequence[str]) -> NoReturn:
    """Become `ssh` to the session's machine."""
    if shutil.which("ssh") is None:
        raise NotFound("There is no ssh on this computer.", hint="Install OpenSSH's client.")
    path = account.folder() / f"session-{session}.conf"
    account.private(path, _ssh_file(api, session))
    sys.stdout.flush()
    os.execvp("ssh", ["ssh", "-F", str(path), "desktop", *command])


def _keys_folder() -> Path:
    """Where ssh itself sees ~/.ssh, whatever HOME says."""
    return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh"


def _ssh_file(api: Api, session: int) -> str:
    """The session's SSH file, for a key that is made here, and whose private half stays here."""
    folder = _keys_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        key = Path(made) / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "beamdesk", "-f", str(key)], check=True)
        public = key.with_name("key.pub").read_text()
        issued = api.post(f"/sessions/{session}/certificates", public_key=public.strip())
        key.rename(folder / issued["key_file"])
    return str(issued["config"])


def rdp(api: Api, session: int, save: str | None) -> str:
    """Open the session's RDP file in a program of this computer, or write it to `save`; what was done, in words."""
    path = Path(save) if save else account.folder() / f"session-{session}.rdp"
    account.private(path, api.text(f"/sessions/{session}/connection.rdp"))
    program = next((words for words in RDP_PROGRAMS if shutil.which(words[0])), None)
    if save or program is None:
        return str(path) if save else f"No RDP program was found; the file is {path}. It opens one connection."
    nothing = subprocess.DEVNULL
    line = [word.format(file=path) for word in program]
    subprocess.Popen(line, stdout=nothing, stderr=nothing, start_new_session=True)
    return f"{program[0]} opens the desktop."
