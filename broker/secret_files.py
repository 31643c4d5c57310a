"""Files of the secrets folder: each is written whole or not at all, and is the service's, whoever writes it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def put(path: Path, content: str | bytes) -> None:
    """Write the file in place of the one that may be there."""
    with _draft(path, content) as draft:
        os.replace(draft, path)


def put_first(path: Path, content: str | bytes) -> None:
    """Write the file where there is none: of several processes that do so at once, the first one's stays."""
    with _draft(path, content) as draft, suppress(FileExistsError):
        os.link(draft, path)


@contextmanager
def drafts(secrets: Path) -> Iterator[Path]:
    """A folder beside the secrets for what is not finished, gone at the end; the secrets' own folder is made."""
    secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=secrets) as folder:
        yield Path(folder)


def belong_to_the_service(path: Path, secrets: Path) -> None:
    """What root makes for the secrets folder is its owner's, as the rest: an operator's command may run as root."""
    if os.geteuid() == 0:
        owner = secrets.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def _draft(path: Path, content: str | bytes) -> Iterator[Path]:
    with drafts(path.parent) as folder:
        draft = folder / path.name
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        belong_to_the_service(draft, path.parent)
        yield draft
