"""Administrators: the audit log and its chain."""

from __future__ import annotations

import json
from collections.abc import Iterator

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response

from broker.audit import log
from broker.audit.log import Line, Standing, Wanted
from broker.audit.verify import Report, verify
from broker.database import Database
from broker.errors import WrongState
from broker.identity.rights import Right
from web.api.schemas import many
from web.api.schemas.audit import AuditQuery, LineOut, ReportOut, StandingOut, WantedQuery
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("audit", __name__, tag="Administration")
QUICK = 100_000  # rows that are looked through while somebody waits
JSON_LINES = "application/jsonl"


@blueprint.get("/audit")
@blueprint.input(AuditQuery, location="query", arg_name="query")
@blueprint.output(many(LineOut))
@needs(Right.AUDIT)
def audit(query: AuditQuery) -> list[Line]:
    """The audit log, the newest row first"""
    with site().runtime.database.reading() as db:
        return log.page(db, wanted(query), limit=query.limit, before=query.before)


@blueprint.get("/audit/export")
@blueprint.input(WantedQuery, location="query", arg_name="query")
@blueprint.output(FileSchema(type="string", format="binary"), content_type=JSON_LINES)
@needs(Right.AUDIT)
def export(query: WantedQuery) -> Response:
    """The audit log as JSON lines, the oldest row first, to its end"""
    database = site().runtime.database
    log.note_export(database, wanted(query), person().name)
    name = 'attachment; filename="beamdesk-audit.jsonl"'
    return Response(_lines(database, wanted(query)), content_type=JSON_LINES, headers={"Content-Disposition": name})


def _lines(database: Database, which: Wanted) -> Iterator[str]:
    for line in log.lines(database, which):
        yield f"{json.dumps(line)}\n"


@blueprint.get("/audit/chain")
@blueprint.output(StandingOut)
@needs(Right.AUDIT)
def chain() -> Standing:
    """How the audit log's chain stands, and who looked through it last"""
    with site().runtime.database.reading() as db:
        return log.standing(db)


@blueprint.post("/audit/verify")
@blueprint.output(ReportOut)
@blueprint.doc(responses=[409])
@needs(Right.AUDIT)
def look_through() -> Report:
    """Compute the chain of the whole audit log anew

    For a log of up to 100,000 rows; a longer one is looked through by `beamdesk audit verify`.
    """
    database = site().runtime.database
    with database.reading() as db:
        rows = log.standing(db).rows
    if rows > QUICK:
        raise WrongState(
            f"The audit log has {rows} rows, too many to look through at once.",
            hint="Run `beamdesk audit verify` on a host of Beamdesk's.",
        )
    report = verify(database)
    log.note_look(database, report, person().name)
    return report


def wanted(query: WantedQuery) -> Wanted:
    """Which rows are asked for."""
    return Wanted(**query.model_dump(include=set(WantedQuery.model_fields)))
