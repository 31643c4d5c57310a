"""The steps in which a key of the secrets folder is replaced. Each may be cut off anywhere, and be done again.

An authority's new key is believed first (`begin`), signs later (`switch`), and the one before it is forgotten last
(`forget`). When each may be done is another matter: broker/rotation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from broker.configuration import ca
from broker.secret_files import put


class Step(StrEnum):
    """How far the replacing of an authority is."""

    STEADY = "steady"  # one key, which signs
    BEGUN = "begun"  # the next one is believed, and does not sign yet
    SWITCHED = "switched"  # it signs; the one before it is still believed


@dataclass(frozen=True)
class Standing:
    """An authority's step and when it was reached; of a steady one, when its key was made."""

    step: Step
    since: datetime


def standing(secrets: Path, authority: str) -> Standing:
    """How far the replacing of this authority is; its key is made where there is none."""
    for step, ending in ((Step.BEGUN, ".next.pub"), (Step.SWITCHED, ".old.pub"), (Step.STEADY, ".pub")):
        path = secrets / f"{authority}{ending}"
        if path.is_file():
            return Standing(step, datetime.fromtimestamp(path.stat().st_mtime, UTC))
    ca.signs(secrets, authority)
    return standing(secrets, authority)


def begin(secrets: Path, authority: str) -> None:
    """Make the key that will sign, and believe it."""
    ca.make(secrets, f"{authority}.next")


def switch(secrets: Path, authority: str) -> None:
    """Sign with the next key from now on; of the one before it only the public half stays."""
    key, ahead = secrets / authority, secrets / f"{authority}.next"
    if ahead.is_file():
        put(secrets / f"{authority}.old.pub", key.with_name(f"{authority}.pub").read_text())
        os.replace(ahead, key)
    os.replace(ahead.with_name(f"{authority}.next.pub"), key.with_name(f"{authority}.pub"))


def forget(secrets: Path, authority: str) -> None:
    """Believe the authority before this one no longer."""
    (secrets / f"{authority}.old.pub").unlink(missing_ok=True)


def replace(secrets: Path, name: str) -> None:
    """A new key in place of one that an authority certifies: who believes the authority believes it at once."""
    ahead = ca.make(secrets, f"{name}.next")
    os.replace(ahead, secrets / name)
    os.replace(ahead.with_name(f"{name}.next.pub"), secrets / f"{name}.pub")
