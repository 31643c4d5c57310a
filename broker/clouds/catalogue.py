"""What a cloud has besides machines (sizes, images, networks), found by id or name and kept for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from broker.errors import CloudRefused

KEPT = 600.0  # seconds


class Catalogue:
    """One cloud's."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._kept: dict[str, tuple[float, list[Any]]] = {}

    def one(self, kind: str, list_all: Callable[[], Iterable[Any]], wanted: str) -> Any:
        """The thing of this kind with this id or name; of several of a name the newest. CloudRefused where none is."""
        made, known = self._kept.get(kind, (float("-inf"), []))
        if time.monotonic() - made > KEPT or not any(wanted in (each.id, each.name) for each in known):
            known = list(list_all())
            self._kept[kind] = (time.monotonic(), known)
        found = [each for each in known if wanted in (each.id, each.name)]
        if not found:
            there = ", ".join(sorted(each.name for each in known)) or "none"
            raise CloudRefused(f"{self._title} has no {kind} {wanted}.", hint=f"It has these: {there}.")
        return max(found, key=lambda each: str((getattr(each, "extra", None) or {}).get("created", "")))

    def forget(self) -> None:
        """List all anew at the next look: what the cloud refused may have been made anew under its old name."""
        self._kept.clear()
