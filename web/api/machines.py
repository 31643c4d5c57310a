"""Administrators: machines."""

from __future__ import annotations

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response, send_file

from broker.database import now
from broker.errors import NotFound
from broker.identity.rights import Right
from broker.pools import overview, service
from broker.pools.models import Machine
from broker.pools.overview import MachineCard
from web.api.schemas import many
from web.api.schemas.machines import MachineOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("machines", __name__, tag="Administration")
ONE = "/machines/<id:machine_id>"


@blueprint.get("/machines")
@blueprint.output(many(MachineOut))
@needs(Right.LOOK)
def machines() -> list[MachineCard]:
    """The machines that are not gone, failed ones first"""
    with site().runtime.database.reading() as db:
        return overview.machines(db, site().settings)


@blueprint.post(f"{ONE}/retire")
@blueprint.output(MachineOut)
@blueprint.doc(responses=[409])
@needs(Right.OPERATE)
def retire(machine_id: int) -> MachineCard:
    """Remove a machine that no session uses"""
    return _card(service.retire(site().runtime, person(), machine_id))


@blueprint.post(f"{ONE}/retry")
@blueprint.output(MachineOut)
@blueprint.doc(responses=[409])
@needs(Right.OPERATE)
def retry(machine_id: int) -> MachineCard:
    """Remove a failed machine now, and let its pool build at once"""
    return _card(service.retry(site().runtime, person(), machine_id))


@blueprint.get(f"{ONE}/evidence")
@blueprint.output(FileSchema(type="string", format="binary"), content_type="image/png")
@needs(Right.LOOK)
def evidence(machine_id: int) -> Response:
    """What the last probe of a machine saw, as PNG"""
    path = site().settings.state_dir.absolute() / f"evidence/machine-{machine_id}.png"
    if not path.is_file():
        raise NotFound(f"There is no picture of machine {machine_id}.", hint="No probe has seen its screen yet.")
    return send_file(path, mimetype="image/png")


def _card(machine: Machine) -> MachineCard:
    return overview.machine_card(site().settings, machine, now())
