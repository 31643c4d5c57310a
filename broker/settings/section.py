"""What all tables of beamdesk.toml have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]


class Section(BaseModel):
    """One table: an unknown key is a mistake, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def listed(names: Iterable[object]) -> str:
    """The names in words, for a message."""
    return ", ".join(map(str, names)) or "none"
