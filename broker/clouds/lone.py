"""One machine for a purpose of its own, outside every pool: under a deployment's name that no manager looks for."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Protocol

from broker.clouds.adapter import DEPLOYMENT, BuildSpec, Cloud, CloudNode, Dial
from broker.errors import CloudFault

EVERY = 0.5  # seconds between looks at the machine
GOES_WITHIN = 300.0  # seconds


class Tunnel(Protocol):
    """Our end of the tunnel of a machine that dials out."""

    dial: Dial

    def arrived(self, node: CloudNode) -> CloudNode:
        """The node, its host key known, as we reach it; without an address before it has dialled in."""

    def give_back(self) -> None:
        """Nobody may dial in to this end any more."""


class LoneMachine:
    """A machine of `cloud`, or none yet; whoever begins it removes it."""

    def __init__(self, cloud: Cloud, deployment: str, purpose: str, tunnel: Tunnel | None = None) -> None:
        self.cloud, self.deployment = cloud, f"{deployment}-{purpose}-{secrets.token_hex(3)}"
        self.name = f"{self.deployment}-1"
        self._tunnel, self._is_there = tunnel, False

    def begin(self, size: str, image: str, ssh_ca: str) -> CloudNode:
        """Ask the cloud for the machine."""
        tags = {DEPLOYMENT: self.deployment}
        dial = self._tunnel.dial if self._tunnel else None
        node = self.cloud.build(BuildSpec(self.name, size, image, tags, ssh_ca, self.name, dial))
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
            if node is not None and node.state == "running" and (reached := self._reached(node)).address:
                return reached
            time.sleep(EVERY)
        if self._tunnel is not None:
            raise CloudFault(
                f"The machine has not dialled {self._tunnel.dial.to} after {within:.0f} s.",
                hint="Can machines of this cloud reach that address? Does `beamdesk gateway tunnels` run there?",
            )
        raise CloudFault(
            f"The machine has no address after {within:.0f} s.",
            hint="Look at the network that the settings name, and at times.build_timeout.",
        )

    def _reached(self, node: CloudNode) -> CloudNode:
        """The running node as we reach it; where it dials out, its address is our end, once its host key is known and
        it has dialled in."""
        if self._tunnel is None:
            return node
        key = self.cloud.vouch(node)
        return self._tunnel.arrived(replace(node, address=None, host_key=key))

    def remove(self) -> str:
        """Remove the machine, and wait until it is gone; a cloud that gave it is asked until it answers."""
        if self._tunnel is not None:
            self._tunnel.give_back()
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
