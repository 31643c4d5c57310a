"""One machine for a purpose of its own, outside every pool: under a deployment's name that no manager looks for."""

from __future__ import annotations

import secrets
import time

from broker.clouds.adapter import DEPLOYMENT, BuildSpec, Cloud, CloudNode
from broker.errors import CloudFault

EVERY = 0.5  # seconds between looks at the machine
GOES_WITHIN = 300.0  # seconds


class LoneMachine:
    """A machine of `cloud`, or none yet; whoever begins it removes it."""

    def __init__(self, cloud: Cloud, deployment: str, purpose: str) -> None:
        self.cloud, self.deployment = cloud, f"{deployment}-{purpose}-{secrets.token_hex(3)}"
        self.name = f"{self.deployment}-1"
        self._is_there = False

    def begin(self, size: str, image: str, ssh_ca: str) -> CloudNode:
        """Ask the cloud for the machine."""
        tags = {DEPLOYMENT: self.deployment}
        node = self.cloud.build(BuildSpec(self.name, size, image, tags, ssh_ca, self.name))
        self._is_there = True
        return node

    def find(self) -> CloudNode | None:
        """The machine as the cloud lists it."""
        return next(iter(self.cloud.list_ours(self.deployment)), None)

    def running(self, within: float) -> CloudNode:
        """The machine when it runs and has an address."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            node = self.find()
            if node is not None and node.state == "failed":
                raise CloudFault(f"The machine failed: {node.error}.", hint="The cloud's own log says more.")
            if node is not None and node.state == "running" and node.address:
                return node
            time.sleep(EVERY)
        raise CloudFault(
            f"The machine has no address after {within:.0f} s.",
            hint="Look at the network that the settings name, and at times.build_timeout.",
        )

    def remove(self) -> str:
        """Remove the machine, and wait until it is gone; a cloud that gave it is asked until it answers."""
        deadline = time.monotonic() + GOES_WITHIN
        while trouble := self._trouble():
            if time.monotonic() > deadline:
                raise CloudFault(trouble, hint=f"Remove {self.name} by the cloud's own tools.")
            time.sleep(EVERY)
        return "nothing is left"

    def _trouble(self) -> str:
        """Ask for the removal of what is there; why something may still be there, or nothing."""
        try:
            left = [node for node in self.cloud.list_ours(self.deployment) if node.state != "gone"]
            for node in left:
                if node.state != "deleting":
                    self.cloud.destroy(node.id)
        except CloudFault as error:
            if not (self._is_there and error.transient):
                raise
            return error.message
        return f"{left[0].name} ({left[0].id}) is still {left[0].state}." if left else ""
