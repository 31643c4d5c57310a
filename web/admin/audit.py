"""The audit log for people: searched by a plain form, a page at a time, with the state of its chain above."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from apiflask import APIBlueprint
from flask import render_template, request, url_for
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.audit import log
from broker.audit.log import Line
from broker.errors import InvalidRequest
from broker.identity.rights import Right
from broker.pools.models import LIVE as LIVE_MACHINES
from broker.pools.models import Machine
from broker.sessions.models import LIVE, UserSession
from web.api.audit import QUICK, wanted
from web.api.schemas.audit import AuditQuery
from web.rights import needs
from web.site import site

blueprint = APIBlueprint("audit_pages", __name__, enable_openapi=False, url_prefix="/admin/audit")
PAGE = 50
KINDS = ("account", "audit", "cloud", "course", "image", "machine", "pool", "reservation", "session", "settings")


@blueprint.get("")
@needs(Right.AUDIT)
def page() -> str:
    """The rows that fit, the newest first."""
    asked = {name: _zoned(name, value.strip()) for name, value in request.args.items() if value.strip()}
    query = _query(asked)
    asked.pop("before", None)
    with site().runtime.database.reading() as db:
        lines = log.page(db, wanted(query), limit=PAGE + 1, before=query.before)
        shown = lines[:PAGE]
        return render_template(
            "admin/audit.html",
            lines=shown,
            asked=asked,
            kinds=KINDS,
            older=_here({**asked, "before": shown[-1].id}) if len(lines) > PAGE else None,
            newest=_here(asked) if query.before is not None else None,
            export=f"{url_for('audit.export')}?{urlencode(asked)}",
            on_dashboard=_on_dashboard(db, shown),
            **_chain(db),
        )


@blueprint.get("/chain")
@needs(Right.AUDIT)
def chain() -> str:
    """The state of the chain alone, fetched afresh."""
    with site().runtime.database.reading() as db:
        return render_template("admin/audit-chain.html", **_chain(db))


def _zoned(name: str, value: str) -> str:
    """A moment as a browser without scripts sends it names no zone: UTC."""
    return f"{value}Z" if name in ("since", "until") and re.fullmatch(r"[\d-]+T[\d:.]+", value) else value


def _query(asked: Mapping[str, str]) -> AuditQuery:
    try:
        return AuditQuery.model_validate(asked)
    except ValidationError as error:
        wrong = "; ".join(f"{part['loc'][0]}: {part['msg']}" for part in error.errors())
        raise InvalidRequest(f"These filters have mistakes. {wrong}", hint="Go back and mend them.") from None


def _chain(db: Session) -> dict[str, Any]:
    return {"standing": log.standing(db), "quick": QUICK}


def _here(asked: Mapping[str, object]) -> str:
    return url_for("audit_pages.page", **asked)  # type: ignore[arg-type]


def _on_dashboard(db: Session, lines: Iterable[Line]) -> dict[tuple[str, str], str]:
    """Where those sessions and machines are on the dashboard that are there still."""
    found: dict[tuple[str, str], str] = {}
    for kind, table, live, anchor in (
        ("session", UserSession, LIVE, "row-session"),
        ("machine", Machine, LIVE_MACHINES, "machine"),
    ):
        ids = {int(line.subject) for line in lines if line.kind == kind and line.subject.isdecimal()}
        for id_ in db.scalars(select(table.id).where(table.id.in_(ids), table.state.in_(live))):
            found[kind, str(id_)] = url_for("dashboard.home", _anchor=f"{anchor}-{id_}")
    return found
