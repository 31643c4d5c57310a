"""Does a cloud of the settings work? Asked step by step, and proved by one machine that is built and removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from broker.clouds.adapter import Cloud, open_cloud
from broker.clouds.dialling import says_ssh
from broker.clouds.lone import LoneMachine, Tunnel
from broker.errors import BrokerError, CloudFault
from broker.settings import Settings, SizeSettings


@dataclass(frozen=True)
class Finding:
    """One step: whether it is good, what was seen, and what to do."""

    step: str
    good: bool
    said: str
    hint: str = ""


def check(
    settings: Settings, name: str, ssh_ca: str, *, build: bool = True, tunnel: Tunnel | None = None
) -> Iterator[Finding]:
    """The findings, one after the other as they are made; what is built for them is removed in any case. `tunnel` is
    that of the machine to be built, where it must dial out."""
    checker = _Checker(settings, name, ssh_ca, tunnel)
    signed_in = find("sign in", checker.sign_in)
    yield signed_in
    if not signed_in.good:
        return
    good = True
    for step, look in (
        ("image", checker.image),
        ("sizes", checker.sizes),
        ("quota", checker.quota),
        *checker.tunnels(),
    ):
        finding = find(step, look)
        good = good and finding.good
        yield finding
    if build and good:
        yield from checker.prove()


def find(step: str, look: Callable[[], str]) -> Finding:
    """What `look` says, or the BrokerError that ends it."""
    try:
        return Finding(step, True, look())
    except BrokerError as error:
        return Finding(step, False, error.message, error.hint)


class _Checker:
    """One cloud; each look says what it saw, or raises what is wrong."""

    cloud: Cloud
    machine: LoneMachine

    def __init__(self, settings: Settings, name: str, ssh_ca: str, tunnel: Tunnel | None) -> None:
        self.settings, self.name, self.ssh_ca, self.tunnel = settings, name, ssh_ca, tunnel
        self.place = settings.clouds[name]

    def sign_in(self) -> str:
        """Open the cloud and ask it something."""
        self.cloud = open_cloud(self.place)
        ours = self.cloud.list_ours(self.settings.deployment)
        return f"{len(ours)} machines of {self.settings.deployment} are there"

    def image(self) -> str:
        """Is the image there?"""
        images = self.cloud.images()
        if not any(self.place.image in (image.id, image.name) for image in images):
            there = ", ".join(sorted(image.name for image in images)) or "none"
            raise CloudFault(
                f"There is no image {self.place.image}.", hint=f"Give clouds.{self.name}.image one of these: {there}."
            )
        return self.place.image

    def wanted(self) -> list[SizeSettings]:
        """The sizes of the pools in this cloud, the smallest first; all where it has no pool yet."""
        names = {pool.size for pool in self.settings.pools.values() if pool.cloud == self.name}
        sizes = [size for size in self.settings.sizes.values() if size.name in names or not names]
        return sorted(sizes, key=lambda size: (size.cores, size.memory_gb))

    def sizes(self) -> str:
        """Is each size there, and does it have what the settings say?"""
        offered = {key: size for size in self.cloud.sizes() for key in (size.id, size.name)}
        seen = []
        for wanted in self.wanted():
            id_ = wanted.id_in(self.name)
            size = offered.get(id_)
            if size is None:
                there = ", ".join(sorted({each.name for each in offered.values()})) or "none"
                raise CloudFault(
                    f"There is no size {id_}.",
                    hint=f'Give sizes.{wanted.name}.ids: {self.name} = "…". It has: {there}.',
                )
            if (size.cores, size.gpus) != (wanted.cores, wanted.gpus) or size.memory_gb < 0.9 * wanted.memory_gb:
                has = f"{size.cores} cores, {size.memory_gb:g} GB and {size.gpus} GPUs"
                says = f"{wanted.cores}, {wanted.memory_gb:g} and {wanted.gpus}"
                raise CloudFault(
                    f"{id_} has {has}, and sizes.{wanted.name} says {says}.",
                    hint=f"Correct sizes.{wanted.name}, or give it another id in this cloud.",
                )
            seen.append(id_)
        return ", ".join(seen) or "no size is in the settings"

    def quota(self) -> str:
        """Is there room for a machine?"""
        room = self.cloud.room()
        if room.nodes == 0 or room.cores == 0:
            raise CloudFault("The quota is used up.", hint="Remove machines, or ask the cloud for more.")
        left = [(room.nodes, "machines"), (room.cores, "cores"), (room.memory_gb, "GB")]
        return ", ".join(f"{number:g} {unit}" for number, unit in left if number is not None) or "it names no limit"

    def tunnels(self) -> Sequence[tuple[str, Callable[[], str]]]:
        """A step more where machines dial out."""
        return [("tunnels", self.is_dialled)] if self.place.reach == "tunnel" else []

    def is_dialled(self) -> str:
        """Does anybody answer where machines dial? Asked from here: they may see another network."""
        to = self.settings.tunnels_address
        host, port = to.rsplit(":", 1)
        if not says_ssh(host, int(port), timeout=5):
            raise CloudFault(
                f"Nobody answers at {to}, which machines of {self.name} dial.",
                hint="Start `beamdesk gateway tunnels`, and look at tunnels.listen and tunnels.public_address.",
            )
        return f"machines dial {to}, and sshd answers there"

    def prove(self) -> Iterator[Finding]:
        """Build the smallest machine, look at it, and remove it."""
        self.machine = LoneMachine(self.cloud, self.settings.deployment, "check", self.tunnel)
        try:
            begun = find("build", self._begin)
            yield begun
            if begun.good:
                yield find("network", self._runs)
                yield find("tags", self._tagged)
        finally:
            removed = find("remove", self.machine.remove)
        yield removed

    def _begin(self) -> str:
        size = self.wanted()[0].id_in(self.name)
        self.machine.begin(size, self.place.image, self.ssh_ca)
        return f"{size} as {self.machine.name}"

    def _runs(self) -> str:
        began = time.monotonic()
        node = self.machine.running(self.settings.times.build_timeout)
        known = "its host key is known" if self.cloud.vouch(node) else "its host key is not known yet"
        return f"{node.address} after {time.monotonic() - began:.1f} s; {known}"

    def _tagged(self) -> str:
        found = self.machine.find()
        if found is None:
            raise CloudFault("The machine's tags did not come back.", hint="May this account write and read tags?")
        return ", ".join(f"{key}={value}" for key, value in sorted(found.tags.items()))
