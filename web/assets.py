"""The address of the browser's files: it carries their version, so that browsers keep them and never mix two."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
KEEP_SECONDS = 365 * 24 * 3600


@cache
def address() -> str:
    """`/static/VERSION`; the version is of all files together, because scripts import each other by relative names.

    It is the one that the process has found first.
    """
    version = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            version.update(str(path.relative_to(FOLDER)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"/static/{version.hexdigest()[:12]}"
