"""Secrets that others keep for us, or that we must be able to use again: sealed by keys that only the broker has.

The keys stand in secrets/sign-in.keys, one a line. The first one seals; all of them open: a new key is put before the
others, and the old ones are taken out when nothing lives that they sealed (broker/rotation).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from broker.secret_files import put, put_first


def seal(secrets: Path, purpose: str, content: dict[str, Any]) -> str:
    """`content`, as only we can read it, and only for this purpose."""
    return _keys(secrets).encrypt(json.dumps([purpose, content]).encode()).decode()


def unseal(secrets: Path, purpose: str, sealed: str, *, seconds: int | None = None) -> dict[str, Any] | None:
    """What was sealed for this purpose, at most so many seconds ago; None where anything of that is not so."""
    try:
        sealed_for, content = json.loads(_keys(secrets).decrypt(sealed.encode(), ttl=seconds))
    except (InvalidToken, ValueError):
        return None
    return dict(content) if sealed_for == purpose else None


def begin(secrets: Path) -> None:
    """Seal with a new key from now on; what older ones sealed is opened as before."""
    path = keys_file(secrets)
    put(path, _lines([Fernet.generate_key().decode(), *path.read_text().split()]))


def forget(secrets: Path) -> None:
    """Open nothing any more that another key sealed than the one that seals now."""
    path = keys_file(secrets)
    put(path, _lines(path.read_text().split()[:1]))


def keys_file(secrets: Path) -> Path:
    """Where the keys are; they are made where there are none."""
    path = secrets / "sign-in.keys"
    if not path.exists():
        put_first(path, _lines([Fernet.generate_key().decode()]))
    return path


def _keys(secrets: Path) -> MultiFernet:
    path = keys_file(secrets)
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> MultiFernet:
    return MultiFernet([Fernet(line) for line in path.read_text().split()])


def _lines(keys: list[str]) -> str:
    return "".join(f"{key}\n" for key in keys)
