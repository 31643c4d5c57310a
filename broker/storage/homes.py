"""A user's home, and how it reaches a machine.

The seam for everything that can bring a home: today a volume of the machine's own cloud, attached there before
the user's account is made; a mirrored home comes to the same `attach`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Home:
    """A user's home: where it appears, and the numeric id of its owner on every machine."""

    user: str
    uid: int

    @property
    def path(self) -> str:
        """The home's path on every machine."""
        return f"/home/{self.user}"


class VolumeCloud(Protocol):
    """A cloud that keeps homes as volumes."""

    def attach_home(self, node_id: str, name: str, uid: int, path: str) -> None:
        """Make the volume where it does not exist, and attach it; harmless when it is attached already."""


def attach(cloud: VolumeCloud, node_id: str, home: Home) -> None:
    """Bring `home` to the machine; created on first use, the same ever after."""
    cloud.attach_home(node_id, f"home-{home.user}", home.uid, home.path)
