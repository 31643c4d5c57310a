"""Which Beamdesk this user uses, and the token for it: one file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ValidationError

from broker.errors import NotSignedIn


class Account(BaseModel):
    """Where one is signed in, as whom, and until when."""

    url: str
    token: str
    name: str
    until: str


def folder() -> Path:
    """Where the command keeps what is the user's own."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "beamdesk"


def load() -> Account:
    """The account, or NotSignedIn."""
    try:
        return Account.model_validate_json((folder() / "account.json").read_text())
    except (OSError, ValidationError):
        raise NotSignedIn("You are not signed in.", hint="Sign in first: beamdesk login https://…") from None


def save(account: Account) -> None:
    """Keep it; nobody else can read the file, at no moment."""
    private(folder() / "account.json", account.model_dump_json(indent=1))


def forget() -> None:
    """Forget it; twice is once."""
    (folder() / "account.json").unlink(missing_ok=True)


def private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
