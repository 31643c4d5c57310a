"""Pages about one's account: programs that are signed in from the browser, and API tokens."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from broker.errors import NotFound
from broker.identity import devices, tokens
from broker.identity.models import DeviceGrant
from broker.identity.rights import MAY, Right
from web.site import person, site

blueprint = Blueprint("account", __name__)
MEANING = {
    Right.READ: "see your sessions",
    Right.LAUNCH: "launch, extend, share and end your desktops",
    Right.CONNECT: "open your desktops, and those that are shared with you",
    Right.TEACH: "make and run your courses",
    Right.ACCOUNT: "see and end your sign-ins and tokens, and make tokens",
    Right.LOOK: "see everybody's sessions and the dashboard",
    Right.JOIN: "ask to join somebody's desktop",
    Right.BREAK_GLASS: "join anybody's desktop without asking",
    Right.OPERATE: "steer pools, machines, clouds and reservations",
    Right.AUDIT: "read the audit log",
    Right.ACT: "act for named users",
}


@blueprint.get("/device")
def device() -> str:
    """Confirm a program's code."""
    person().must(Right.ACCOUNT)
    code = request.args.get("code", "")[:20]
    return render_template("device.html", code=code, waiting=_waiting(code) if code else None, meaning=MEANING)


@blueprint.get("/tokens")
def my_tokens() -> str:
    """My tokens."""
    return render_template("tokens.html", **_tokens())


@blueprint.get("/fragments/tokens")
def list_of_tokens() -> str:
    """My tokens, afresh."""
    return render_template("fragments/tokens.html", **_tokens())


def _waiting(code: str) -> DeviceGrant | None:
    try:
        with site().runtime.database.reading() as db:
            return devices.waiting(db, code)
    except NotFound:
        return None


def _tokens() -> dict[str, object]:
    who = person()
    who.must(Right.ACCOUNT)
    offered = [right for right in Right if right in MAY[who.role] and right not in (Right.READ, Right.BREAK_GLASS)]
    grantable = {right.value: MEANING[right] for right in offered}
    with site().runtime.database.reading() as db:
        return {"tokens": tokens.listed(db, who), "grantable": grantable, "meaning": MEANING}
