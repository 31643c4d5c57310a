"""What a machine is made of, as one short text: equal base images, roles and variables have equal fingerprints.

What each machine has of its own (keys, certificates, the agent, which identity.py gives) is no part of it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.configuration.playbook import ANSIBLE

EVERY_MACHINES = ("base", "sshd", "agent", "desktop", "firewall")  # roles, as machine.yml has them


def fingerprint(image: str, roles: Sequence[str], variables: Mapping[str, Any], ansible: Path = ANSIBLE) -> str:
    """Of a machine of the base `image` with the environment's `roles`; a role that does not exist has no files."""
    digest = hashlib.sha256(json.dumps([image, list(roles), variables], sort_keys=True).encode())
    folders = (ansible / "roles" / role for role in dict.fromkeys((*EVERY_MACHINES, *roles)))
    files = [ansible / "machine.yml", *sorted(path for folder in folders for path in folder.rglob("*"))]
    for path in filter(Path.is_file, files):
        state = path.stat()
        digest.update(f"\n{path.relative_to(ansible)} {_content(path, state.st_mtime_ns, state.st_size)}".encode())
    return digest.hexdigest()


@functools.lru_cache(4096)
def _content(path: Path, changed: int, size: int) -> str:
    """The file's digest, read again when the file was changed."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
