"""Commands on machines, as root over SSH, and the machine's agent.

OpenSSH itself does it, with one connection per machine that is kept for some minutes: a command over it takes some
10 ms. A machine is who its cloud says it is: its host key is pinned, and no file of known hosts is read or written.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

from agents.protocol import SSH_PORT, TUNNELLED_SSH_PORT, Failure, Message, ProtocolError
from broker.configuration import ca
from broker.errors import AgentRefused, MachineUnreachable, ServiceDown

AGENT = "/usr/local/sbin/beamdesk-agent"
_KEEP_SECONDS = 300
_CONNECT_SECONDS = 5
_LONGEST_SOCKET = 86  # sun_path holds 107, and ssh binds the name with 18 more characters first
_SSH_FAILED = 255

Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True)
class SshTarget:
    """A machine as its cloud knows it; `host_key` is `TYPE BASE64`, as in an OpenSSH public key file."""

    address: str
    host_key: str
    name: str
    port: int = SSH_PORT

    @property
    def dials_out(self) -> bool:
        """Whether `address` is our end of its tunnel."""
        return self.port == TUNNELLED_SSH_PORT


def run(
    state_dir: Path, target: SshTarget, command: Sequence[str], *, stdin: bytes = b"", timeout: float = 30
) -> CompletedProcess[bytes]:
    """Run the command on the machine as root; MachineUnreachable where SSH fails or `timeout` seconds pass."""
    control = _control_path(state_dir, target)
    line = [
        "ssh",
        *options(state_dir, target),
        *_kept(control),
        f"root@{target.address}",
        "--",
        shlex.join(command),
    ]
    # A file, because the kept connection holds on to stderr: a pipe would stay open as long as it does. In memory,
    # because a busy disk would hold up the launch.
    with os.fdopen(os.memfd_create("ssh-errors"), "w+b") as errors:
        try:
            done = subprocess.run(
                line,
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=timeout,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            _leave(control)
            raise MachineUnreachable(
                f"Machine {target.name} ({target.address}) did not answer within {timeout:.0f} s.",
                hint="It is tried again on another machine.",
            ) from None
        except FileNotFoundError:
            raise ServiceDown("ssh is not installed.", hint="Install the package openssh-client.") from None
        errors.seek(0)
        done.stderr = errors.read()
    if done.returncode == _SSH_FAILED:
        reason = done.stderr.decode(errors="replace").strip() or "the connection broke"
        raise MachineUnreachable(f"Machine {target.name} ({target.address}) cannot be reached: {reason}")
    return done


def agent(
    state_dir: Path,
    target: SshTarget,
    verb: str,
    request: Message,
    answer: type[Answer],
    *,
    timeout: float = 30,
) -> Answer:
    """Ask the machine's agent; AgentRefused with its code as `reason` where it says no."""
    done = run(state_dir, target, [AGENT, verb], stdin=request.to_json().encode(), timeout=timeout)
    try:
        if done.returncode == 0:
            return answer.from_json(done.stdout)
        failure = Failure.from_json(done.stdout)
    except ProtocolError:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        failure = Failure({"code": "no-answer", "message": said[-2000:] or f"it ended with {done.returncode}"})
    reason, message = failure.error.get("code", ""), failure.error.get("message", "")
    raise AgentRefused(f"The agent of machine {target.name} refused {verb}: {message}", reason=reason)


def options(state_dir: Path, target: SshTarget) -> list[str]:
    """What makes ssh reach this machine and no other, with nothing of the account's own configuration."""
    login = ca.broker_login(_secrets(state_dir))
    kind, key = _host_key(target)
    algorithms = "rsa-sha2-512,rsa-sha2-256" if kind == "ssh-rsa" else kind
    settings = {
        "BatchMode": "yes",
        "CertificateFile": str(login.certificate),
        "ConnectTimeout": str(_CONNECT_SECONDS),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlgorithms": algorithms,
        "HostKeyAlias": "machine",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(login.key),
        "KnownHostsCommand": f"/bin/echo machine {kind} {key}",
        "LogLevel": "ERROR",
        "Port": str(target.port),
        "ServerAliveCountMax": "3",
        "ServerAliveInterval": "10",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": "/dev/null",
    }
    return ["-F", "none", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]


def close_all(state_dir: Path) -> None:
    """End every kept connection of this state folder."""
    folder = _socket_folder(state_dir)
    for control in folder.iterdir() if folder.is_dir() else ():
        if stat.S_ISSOCK(control.lstat().st_mode):
            _control(control, "exit")
            control.unlink(missing_ok=True)


def _secrets(state_dir: Path) -> Path:
    return state_dir.absolute() / "secrets"


def _host_key(target: SshTarget) -> tuple[str, str]:
    found = re.match(r"([a-z0-9@.-]+) ([A-Za-z0-9+/]+=*)(\s|$)", target.host_key)
    if not found:
        raise MachineUnreachable(f"The cloud gave no usable host key for machine {target.name}: {target.host_key!r}.")
    return found[1], found[2]


def _kept(control: Path) -> list[str]:
    settings = {"ControlMaster": "auto", "ControlPath": str(control), "ControlPersist": str(_KEEP_SECONDS)}
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _control_path(state_dir: Path, target: SshTarget) -> Path:
    """The socket of the connection to this very machine; another machine that gets its address has another one."""
    folder = _socket_folder(state_dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        owner = folder.owner()
        raise ServiceDown(f"{folder} belongs to the account {owner}.", hint=f"Run this as {owner}, as Beamdesk runs.")
    return folder / hashlib.sha256(f"{target.address} {target.host_key}".encode()).hexdigest()[:16]


def _socket_folder(state_dir: Path) -> Path:
    """run/ssh in the state folder, or a private folder of its own where that path is too long for a socket."""
    folder = state_dir.absolute() / "run" / "ssh"
    if len(str(folder)) + 17 <= _LONGEST_SOCKET:
        return folder
    short = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"beamdesk-{os.getuid()}-{short}"


def _leave(control: Path) -> None:
    """Use this connection for nothing new: it may be dead. What others run over it goes on."""
    _control(control, "stop")


def _control(control: Path, request: str) -> None:
    line = ["ssh", "-F", "none", "-O", request, "-o", f"ControlPath={control}", "machine"]
    subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
