"""Images baked of environments: their revisions, states, the only writer of a state, and which one is built from."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, String, Text, UniqueConstraint, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from broker import events
from broker.configuration.fingerprint import fingerprint
from broker.database import Base, now
from broker.errors import NotFound, WrongState
from broker.pools.models import Machine
from broker.settings import Settings


class ImageState(StrEnum):
    """How far a revision has come into use."""

    BAKED = "baked"  # saved; nothing was built from it yet
    CANARY = "canary"  # one machine is built from it and looked at
    PARTIAL = "partial"  # a tenth of the vacant machines
    ACTIVE = "active"  # what its pools build from; vacant machines of others are replaced
    RETIRED = "retired"  # another revision took its place
    REJECTED = "rejected"  # a machine of it failed
    REMOVED = "removed"  # gone from the cloud; the row stays for audit


I = ImageState  # noqa: E741 - as M is MachineState
MOVES: dict[ImageState, frozenset[ImageState]] = {
    I.BAKED: frozenset({I.CANARY, I.RETIRED}),
    I.CANARY: frozenset({I.PARTIAL, I.REJECTED, I.RETIRED}),
    I.PARTIAL: frozenset({I.ACTIVE, I.REJECTED, I.RETIRED}),
    I.ACTIVE: frozenset({I.REJECTED, I.RETIRED}),
    I.RETIRED: frozenset({I.ACTIVE, I.REMOVED}),  # active again where its successor was rejected
    I.REJECTED: frozenset({I.REMOVED}),
    I.REMOVED: frozenset(),
}
TRIED = (I.BAKED, I.CANARY, I.PARTIAL)


class Image(Base):
    """One revision of an environment's image in one cloud; `image_id` is the cloud's own name of it."""

    __tablename__ = "images"
    __table_args__ = (UniqueConstraint("environment", "cloud", "revision", name="uq_images_revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(String(40))
    cloud: Mapped[str] = mapped_column(String(40))
    revision: Mapped[int]
    image_id: Mapped[str] = mapped_column(String(128))
    fingerprint: Mapped[str] = mapped_column(String(64))
    state: Mapped[ImageState] = mapped_column(String(16), default=I.BAKED)
    made_at: Mapped[datetime] = mapped_column(default=now)
    changed_at: Mapped[datetime] = mapped_column(default=now)
    everywhere_at: Mapped[datetime | None]  # since then it is proven: a machine that fails is no longer held against it
    failure: Mapped[str | None] = mapped_column(Text)
    former: Mapped[int | None]  # the image that it took the place of, which it gives back where it is rejected

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.environment} revision {self.revision}"


def move(
    db: Session, image: Image, after: ImageState, *, reason: str, actor: str = events.SYSTEM, **values: Any
) -> None:
    """Move `image` to `after` and set `values`, or raise WrongState and change nothing."""
    before = ImageState(image.state)
    if after not in MOVES[before]:
        raise WrongState(f"Image {image.id} ({image.name}) cannot go from {before} to {after}.")
    moved = db.execute(
        update(Image)
        .where(Image.id == image.id, Image.state == before)
        .values(state=after, changed_at=now(), **values)
        .execution_options(synchronize_session=False)
    )
    if moved.rowcount != 1:  # type: ignore[attr-defined]
        raise WrongState(f"Image {image.id} ({image.name}) is no longer {before}.", hint="Try again.")
    if image in db:
        db.expire(image)
    what = f"{image.name} in {image.cloud}"
    events.record(db, f"image:{after}", image.id, actor=actor, before=before, reason=f"{what}: {reason}")
    events.changed(db, "pool", image.environment)


def add(db: Session, environment: str, cloud: str, revision: int, image_id: str, made_of: str) -> Image:
    """Write down an image that was baked; WrongState where another one has its number."""
    if db.scalar(select(Image.id).where(*_of(environment, cloud), Image.revision == revision)) is not None:
        raise WrongState(f"Somebody else has baked revision {revision} of {environment} meanwhile.", hint="Bake again.")
    image = Image(environment=environment, cloud=cloud, revision=revision, image_id=image_id, fingerprint=made_of)
    db.add(image)
    db.flush()
    events.record(db, "image:baked", image.id, reason=f"{image.name} in {cloud}")
    return image


def next_revision(db: Session, environment: str, cloud: str) -> int:
    """The number of the next image."""
    return (db.scalar(select(func.max(Image.revision)).where(*_of(environment, cloud))) or 0) + 1


def active(db: Session, environment: str, cloud: str) -> Image | None:
    """What is built from; None where it is the cloud's own image."""
    mine = select(Image).where(*_of(environment, cloud), Image.state == I.ACTIVE)
    return db.scalar(mine.order_by(Image.revision.desc()))


def _of(environment: str, cloud: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Image.environment == environment, Image.cloud == cloud


def listed(db: Session) -> list[Image]:
    """All that are not removed, by environment and cloud, the newest first."""
    order = (Image.environment, Image.cloud, Image.revision.desc())
    return list(db.scalars(select(Image).where(Image.state != I.REMOVED).order_by(*order)))


def get(db: Session, image_id: int) -> Image:
    """The image of this number, or NotFound."""
    image = db.get(Image, image_id)
    if image is None or image.state == I.REMOVED:
        raise NotFound(f"There is no image {image_id}.", hint="`beamdesk image list` shows those that there are.")
    return image


def built_from(db: Session, settings: Settings, machine: Machine) -> str:
    """The cloud's name of the image that this machine is built from."""
    image = db.get(Image, machine.image) if machine.image is not None else None
    return image.image_id if image is not None else settings.clouds[machine.cloud].image


def variables_of(settings: Settings, environment: str, cloud: str, size: str, pool: str) -> dict[str, Any]:
    """What its roles are told of such a machine."""
    return {"environment_name": environment, "properties": settings.properties_of(cloud, size, environment, pool)}


def made_of_today(settings: Settings, environment: str, cloud: str, size: str, pool: str) -> str:
    """The fingerprint of such a machine if it were made from its start now."""
    roles, image = settings.roles_of(environment), settings.clouds[cloud].image
    return fingerprint(image, roles, variables_of(settings, environment, cloud, size, pool))


def model_of(settings: Settings, environment: str, cloud: str) -> tuple[str, str]:
    """The size and the pool that an image is baked for: the smallest of the environment's in the cloud, or of all.

    Machines whose own properties differ from that one's are configured in full.
    """
    mine = [pool for pool in settings.pools.values() if (pool.environment, pool.cloud) == (environment, cloud)]
    choices = [(pool.size, pool.name) for pool in mine] or [(size, "") for size in settings.sizes]
    if not choices:
        raise NotFound("The settings have no sizes.", hint="Add one: [sizes.NAME].")

    def extent(choice: tuple[str, str]) -> tuple[int, float]:
        size = settings.sizes[choice[0]]
        return size.cores, size.memory_gb

    return min(choices, key=extent)


def behind(settings: Settings, image: Image) -> bool:
    """Whether the roles have changed since: machines of it are then configured in full."""
    known = image.environment in {**settings.environments, **settings.bases} and image.cloud in settings.clouds
    return not known or image.fingerprint != _of_model(settings, image)


def _of_model(settings: Settings, image: Image) -> str:
    place = (image.environment, image.cloud)
    return made_of_today(settings, *place, *model_of(settings, *place))


_STAGES = {
    I.BAKED: "waits to be tried",
    I.CANARY: "is tried on one machine",
    I.PARTIAL: "is tried on a tenth of the vacant machines",
}


def words(db: Session, settings: Settings) -> dict[tuple[str, str], str]:
    """What an administrator is told of the images, by environment and cloud; one query for all."""
    found: dict[tuple[str, str], list[Image]] = {}
    for image in listed(db):
        found.setdefault((image.environment, image.cloud), []).append(image)
    return {place: " ".join(_words(settings, revisions)) for place, revisions in found.items()}


def _words(settings: Settings, revisions: list[Image]) -> list[str]:
    newest, in_use = revisions[0], next((image for image in revisions if image.state == I.ACTIVE), None)
    said = []
    if newest.state in _STAGES:
        said.append(f"Image revision {newest.revision} {_STAGES[I(newest.state)]}.")
    elif newest.state == I.REJECTED:
        said.append(f"Image revision {newest.revision} was rejected: {newest.failure}")
    if in_use is not None:
        said.append(f"Built from image revision {in_use.revision}.")
        if behind(settings, in_use):
            said.append("It is behind its roles: machines are configured in full until it is baked again.")
    return said
