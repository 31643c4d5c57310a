"""The API of the Virtual Machine Manager that came before, for front ends that speak it (docs/vmm.md).

A machine type is a pool, under the number that the settings give it. An acquired machine is a session of the service
account that asked; its id is the session's. What the old API answers with null stays null, with status 200, because its
client looks at nothing else.
"""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Literal

from apiflask import APIBlueprint
from flask import Flask, Response, g, jsonify, request
from pydantic import BaseModel, Field

from broker import events
from broker.errors import NotFound, NothingFits, NoVacantMachine, OverQuota
from broker.pools import stock
from broker.pools.allocation import Offer, Wish
from broker.pools.models import Machine, Pool
from broker.sessions import service, waiting
from broker.settings import PoolSettings, Settings, VmmSettings
from web import pictures, words
from web.api.schemas import MOST_ID, Given
from web.guessing import check_service
from web.site import person, site
from web.visitors import came_from

blueprint = APIBlueprint("vmm", __name__, enable_openapi=False)


class AnyQuery(BaseModel):
    """The one of which the client asks, or all."""

    id: int | None = None


class OneQuery(BaseModel):
    """The one of which the client asks."""

    id: Annotated[int, Field(ge=1, le=MOST_ID)]


class ClaimBody(BaseModel):
    """Of which type a machine is wanted."""

    machine_type_id: int


class MachineTypeOut(Given):
    """A machine type. Its description has the same number as itself."""

    id: int
    cloud_id: int
    cloud_name: str
    name: str
    description: str
    description_id: int
    pool_size: int
    number_available: int
    parameters: dict[str, str]


class MachineOut(Given):
    """A machine that is the caller's now."""

    id: int
    machine_type_id: int
    hostname: str
    state: Literal["acquired"] = "acquired"


class DescriptionOut(Given):
    """What a machine type is for; `logo` is a PNG in base64."""

    id: int
    name: str
    description: str
    logo: str


def attach(app: Flask, settings: VmmSettings) -> None:
    """Answer there, where the settings want it."""
    if settings.enabled:
        app.register_blueprint(blueprint, url_prefix=settings.prefix)


@blueprint.before_request
def prove() -> None:
    """Each request brings the service account's name and password; nobody's cookie counts here."""
    name, password = request.headers.get("VMM-User", ""), request.headers.get("VMM-Password", "")
    g.person = check_service(site().runtime, name[:64], password[:1024], came_from())
    events.came_by("service account")


@blueprint.get("/machinetypes")
@blueprint.input(AnyQuery, location="query", arg_name="query")
def machine_types(query: AnyQuery) -> Response:
    """All machine types that the account may use, or a list of the one with this id; null where there is none."""
    settings = site().settings
    with site().runtime.database.reading() as db:
        queues, wishes = waiting.look(db, settings), stock.wishes_of_administrators(db)
    found = [
        _machine_type(settings, number, queues.offers[pool.name], queues.free(pool.name), wishes.get(pool.name))
        for number, pool in _pools(settings).items()
        if query.id in (None, number)
    ]
    return jsonify([each.model_dump() for each in found] if found or query.id is None else None)


@blueprint.post("/machines")
@blueprint.input(ClaimBody, arg_name="body")
def claim(body: ClaimBody) -> Response:
    """A vacant machine of this type, or null where none is; nobody waits here, and nothing is left behind."""
    here = site()
    pool = _pools(here.settings).get(body.machine_type_id)
    if pool is None:
        raise NotFound(f"There is no machine type {body.machine_type_id} for you.", hint="Ask for the list of them.")
    try:
        session = service.request(here.runtime, person(), Wish(pool.environment, pool=pool.name))
    except (NoVacantMachine, NothingFits, OverQuota):
        return jsonify(None)
    here.launcher.start(session.id)
    with here.runtime.database.reading() as db:
        address = db.get_one(Machine, session.machine_id).address or ""
    return jsonify(MachineOut(id=session.id, machine_type_id=body.machine_type_id, hostname=address).model_dump())


@blueprint.delete("/machines")
@blueprint.input(OneQuery, location="query", arg_name="query")
def release(query: OneQuery) -> Response:
    """Give the machine back, which is deleted; twice is once."""
    session = service.end(site().runtime, person(), query.id, reason="given back by its front end")
    return jsonify({"id": session.id, "state": "deleted"})


@blueprint.get("/descriptions")
@blueprint.input(OneQuery, location="query", arg_name="query")
def description(query: OneQuery) -> Response:
    """What the machine type of this id is for, with its environment's icon; null where there is none."""
    settings = site().settings
    pool = _pools(settings).get(query.id)
    if pool is None:
        return jsonify(None)
    environment = settings.environments[pool.environment]
    logo = base64.b64encode(pictures.png(environment.icon)).decode()
    told = DescriptionOut(id=query.id, name=environment.title, description=environment.description, logo=logo)
    return jsonify(told.model_dump())


def _pools(settings: Settings) -> dict[int, PoolSettings]:
    """The pools that are offered to the caller, by their machine type's number; a base's is nobody's to ask for."""
    pools = {number: settings.pools[name] for number, name in settings.vmm.types.items()}
    open_ = {name for name, one in settings.environments.items() if one.open_to(person().groups)}
    return {number: pool for number, pool in pools.items() if pool.environment in open_}


def _machine_type(settings: Settings, number: int, offer: Offer, free: int, wish: Pool | None) -> MachineTypeOut:
    pool = settings.pools[offer.pool]
    environment, cloud = settings.environments[pool.environment], settings.clouds[pool.cloud]
    properties = settings.properties_of(pool.cloud, pool.size, pool.environment, pool.name)
    size = f"{words.plural(offer.cores, 'core')}, {words.memory(offer.memory_gb)}"
    return MachineTypeOut(
        id=number,
        cloud_id=zlib.crc32(cloud.name.encode()) >> 1,  # the same for ever; a Java int holds it
        cloud_name=cloud.title,
        name=f"{environment.title} ({size}, {offer.place})",
        description=environment.description,
        description_id=number,
        pool_size=stock.target_and_limit(pool, wish)[0],
        number_available=free,
        parameters={"group": next(iter(environment.groups), ""), **properties},
    )
