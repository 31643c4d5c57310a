"""What this machine knows about its session, on disk: it survives a kill at any instruction and a reboot."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

STATE = Path("/var/lib/beamdesk/session.json")
RUN = Path("/run/beamdesk")


@dataclass(frozen=True)
class Attached:
    """The session that this machine was given to; it is never given to another one."""

    session: str
    user: str
    uid: int
    home: str
    lease_ends: str
    detached: bool = False


def read() -> Attached | None:
    """The session of this machine, or None while it is vacant."""
    try:
        return Attached(**json.loads(STATE.read_text()))
    except FileNotFoundError:
        return None


def write(attached: Attached) -> None:
    """Store it so that a reader sees the old text or the new one, never a half."""
    STATE.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    replace_file(STATE, json.dumps(asdict(attached)).encode(), mode=0o600)


def replace_file(path: Path, content: bytes, *, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Write a file whole and with its owner and mode, or leave the old one."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(draft, path)


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Let one process at a time in; the kernel frees the turn of one that dies."""
    RUN.mkdir(mode=0o755, exist_ok=True)
    with (RUN / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
