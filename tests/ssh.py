"""An SSH user: a key pair of OpenSSH's own, the file of a session, and commands through it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

Post = Callable[[str, dict[str, Any]], dict[str, Any]]


def new_key(path: Path, *kind: str) -> str:
    """A new key pair at `path`; its public half as one line."""
    line = ["ssh-keygen", "-q", *(kind or ("-t", "ed25519")), "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(line, check=True)
    return path.with_name(f"{path.name}.pub").read_text().strip()


def session_file(folder: Path, session_id: int | str, post: Post) -> Path:
    """The file of a session with a key of its own, as a browser makes it; the key lies in the folder, and not in .ssh.

    `post` asks the API.
    """
    public = new_key(folder / f"beamdesk-{session_id}")
    issued = post(f"/sessions/{session_id}/certificates", {"public_key": public})
    return write_file(folder, session_id, issued["config"])


def write_file(folder: Path, session_id: int | str, config: str) -> Path:
    """The file, under the name that browsers give to a second download."""
    file = folder / f"beamdesk-{session_id} (1).conf"
    file.write_text(config.replace("~/.ssh/", f"{folder}/").replace("%d/.ssh", str(folder)))
    return file


def ssh(file: Path, *words: str, stdin: str = "", timeout: float = 30) -> CompletedProcess[str]:
    """`ssh -F FILE WORDS`, where nobody answers a question."""
    line = ["ssh", "-F", str(file), *words]
    return subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=timeout, start_new_session=True)
