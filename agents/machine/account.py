"""The user's account on this machine: made on the first attach, checked on a repeated one."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from agents.machine.faults import AgentError
from agents.machine.state import replace_file
from agents.protocol import AttachRequest

PRINCIPALS = Path("/etc/ssh/principals")
_DEVICE_GROUPS = ("video", "render")  # what lets a program use the GPU
_SKELETON = Path("/etc/skel")


def check(request: AttachRequest) -> None:
    """Refuse a name, number or home that cannot become this user's; nothing is changed."""
    for found in _accounts(request):
        if (found.pw_name, found.pw_uid) != (request.user, request.uid):
            there = f"{found.pw_name} with the number {found.pw_uid}"
            raise AgentError(
                "account-conflict",
                f"No {request.user} with the number {request.uid}: this machine has {there}.",
            )
    try:
        home = os.stat(request.home, follow_symlinks=False)
    except FileNotFoundError:
        raise AgentError("no-home", f"There is no home at {request.home}.") from None
    if not stat.S_ISDIR(home.st_mode) or home.st_uid != request.uid:
        raise AgentError("wrong-home", f"{request.home} is not a folder of the account number {request.uid}.")


def _accounts(request: AttachRequest) -> list[pwd.struct_passwd]:
    found = []
    with suppress(KeyError):
        found.append(pwd.getpwnam(request.user))
    with suppress(KeyError):
        found.append(pwd.getpwuid(request.uid))
    return found


def ensure(request: AttachRequest) -> None:
    """Make the account, its password, its home's first files and its SSH principals; all may be repeated."""
    hashing = subprocess.Popen(["openssl", "passwd", "-6", "-stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if not _accounts(request):
        _run(
            *("useradd", "--no-create-home", "--home-dir", request.home, "--uid", str(request.uid)),
            *(
                "--user-group",
                "--shell",
                "/bin/bash",
                "--comment",
                request.full_name.translate({58: 32, 44: 32}),
            ),
            *("--groups", ",".join(_existing_groups()), "--", request.user),
        )
    hashed, _ = hashing.communicate(request.password.encode())
    _run("chpasswd", "--encrypted", text=f"{request.user}:{hashed.decode().strip()}\n")
    _fill_home(request)
    PRINCIPALS.mkdir(mode=0o755, exist_ok=True)
    principals = "".join(f"{principal}\n" for principal in request.principals)
    replace_file(PRINCIPALS / request.user, principals.encode(), mode=0o644)


def _existing_groups() -> list[str]:
    known = {group.gr_name for group in grp.getgrall()}
    return [name for name in _DEVICE_GROUPS if name in known]


def _fill_home(request: AttachRequest) -> None:
    """Copy the skeleton into a home on its first use, as the user, and never over a file of the user."""
    home = Path(request.home)
    unfinished = home / ".beamdesk-first-use"
    if any(home.iterdir()) and not unfinished.exists():
        return
    as_user = ("setpriv", f"--reuid={request.uid}", f"--regid={request.uid}", "--clear-groups")
    script = 'touch "$2" && cp -r --no-clobber "$1/." "$3" && rm "$2"'
    _run(*as_user, "sh", "-c", script, "first-use", str(_SKELETON), str(unfinished), str(home))


def _run(*command: str, text: str = "") -> None:
    run = subprocess.run(command, input=text, capture_output=True, text=True)
    if run.returncode != 0:
        raise AgentError("account-failed", f"{command[0]} failed: {run.stderr.strip() or run.returncode}")
