"""Bakes an environment's image: a machine from the cloud's own image, the environment's roles, cleaned, and saved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from broker.clouds.adapter import DEPLOYMENT, CloudImage, CloudNode, open_cloud
from broker.clouds.check import Finding, find
from broker.clouds.lone import EVERY, LoneMachine
from broker.configuration import ca, identity
from broker.configuration.ssh import SshTarget
from broker.errors import MachineUnreachable, NotFound
from broker.pools import configure, images, tunnels
from broker.runtime import Runtime
from broker.settings import Settings

ENVIRONMENT, REVISION = "beamdesk-environment", "beamdesk-revision"  # the tags of an image, besides the deployment's


def bake(runtime: Runtime, environment: str, cloud: str) -> Iterator[Finding]:
    """The steps, one after the other as they are done; the first that fails is the last. The machine always goes."""
    baker = _Baker(runtime, environment, cloud)
    steps = (
        ("build", baker.build),
        ("network", baker.runs),
        ("roles", baker.configured),
        ("check", baker.checked),
        ("clean", baker.cleaned),
        ("save", baker.saved),
        ("record", baker.recorded),
    )
    try:
        for step, do in steps:
            done = find(step, do)
            yield done
            if not done.good:
                break
    finally:
        removed = find("remove", baker.machine.remove)
    yield removed


class _Baker:
    """One image; each step says what it did, or raises what is wrong."""

    node: CloudNode
    image: CloudImage

    def __init__(self, runtime: Runtime, environment: str, cloud: str) -> None:
        self.runtime, self.settings = runtime, runtime.settings
        _must_have(self.settings, environment, cloud)
        self.environment, self.place = environment, self.settings.clouds[cloud]
        self.cloud = open_cloud(self.place)
        tunnel = tunnels.for_lone(runtime, self.place)
        self.machine = LoneMachine(self.cloud, self.settings.deployment, "bake", tunnel)
        self.kind = (environment, cloud, *images.model_of(self.settings, environment, cloud))
        self.made_of = images.made_of_today(self.settings, *self.kind)
        with runtime.database.reading() as db:
            self.revision = images.next_revision(db, environment, cloud)

    def build(self) -> str:
        """From the cloud's own image, so that no image carries what an earlier one left behind."""
        size = self.settings.sizes[self.kind[2]].id_in(self.place.name)
        self.machine.begin(size, self.place.image, ca.trusted(self.settings.secrets_dir).users)
        return f"{size} of {self.place.image} as {self.machine.name}"

    def runs(self) -> str:
        """Until its host key is known, which a cloud may show later than its address."""
        within = self.settings.times.build_timeout
        deadline = time.monotonic() + within
        self.node = self.machine.running(within)
        while (key := self.cloud.vouch(self.node)) is None:
            if time.monotonic() > deadline:
                raise MachineUnreachable(
                    f"The host key of {self.machine.name} is not known after {within:.0f} s.",
                    hint="The image needs cloud-init, which writes it to the console.",
                )
            time.sleep(EVERY)
        self.node = replace(self.node, host_key=key)
        return f"{self.node.address}; its host key is known"

    @property
    def target(self) -> SshTarget:
        """Where the machine is reached."""
        return SshTarget(self.node.address or "", self.node.host_key or "", self.machine.name, self.node.ssh_port)

    def configured(self) -> str:
        """As a machine of a pool is."""
        began = time.monotonic()
        configure.run_roles(self.settings, self.target, *self.kind)
        return f"{', '.join(self.settings.roles_of(self.environment))} in {time.monotonic() - began:.1f} s"

    def checked(self) -> str:
        """By the environment's own check."""
        configure.check(self.settings, self.target, *self.kind)
        return configure.check_of(self.settings, self.environment) or "the environment has no check of its own"

    def cleaned(self) -> str:
        """Of all that makes it this machine."""
        identity.take(self.settings.state_dir, self.target, self.made_of)
        return "keys, certificates, logs and homes are gone"

    def saved(self) -> str:
        """As an image of the cloud."""
        began = time.monotonic()
        tags = {
            DEPLOYMENT: self.settings.deployment,
            ENVIRONMENT: self.environment,
            REVISION: str(self.revision),
        }
        name = f"{self.settings.deployment}-{self.environment}-r{self.revision}"
        self.image = self.cloud.save_image(self.node.id, name, tags)
        return f"{name} ({self.image.id}) in {time.monotonic() - began:.1f} s"

    def recorded(self) -> str:
        """In the database; an image that is not known there is nobody's, and goes."""
        try:
            with self.runtime.database.transaction() as db:
                row = images.add(db, self.environment, self.place.name, self.revision, self.image.id, self.made_of)
        except Exception:
            self.cloud.delete_image(self.image.id)
            raise
        return f"image {row.id}, {row.name}: the manager tries it on one machine first"


def _must_have(settings: Settings, environment: str, cloud: str) -> None:
    environments = {**settings.environments, **settings.bases}
    for kind, name, known in (("environment", environment, environments), ("cloud", cloud, settings.clouds)):
        if name not in known:
            raise NotFound(
                f"The settings have no {kind} {name}.", hint=f"They have these: {', '.join(known) or 'none'}."
            )


def remove(runtime: Runtime, image_id: int) -> str:
    """Take the image out of use, and remove it from its cloud; its name."""
    with runtime.database.transaction() as db:
        image = images.get(db, image_id)
        if image.state not in (images.ImageState.RETIRED, images.ImageState.REJECTED):
            images.move(db, image, images.ImageState.RETIRED, reason="to be removed")
    if image.cloud in runtime.settings.clouds:
        open_cloud(runtime.settings.clouds[image.cloud]).delete_image(image.image_id)
    with runtime.database.transaction() as db:
        image = images.get(db, image_id)
        images.move(db, image, images.ImageState.REMOVED, reason="removed by an operator")
        return image.name
