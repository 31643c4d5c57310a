"""One's own sign-ins, and the identities that they are made with."""

from __future__ import annotations

from datetime import datetime

from apiflask import APIBlueprint
from flask import Response, jsonify, make_response

from broker.identity import sign_ins, unlinking
from broker.identity.rights import Right
from web import live, security
from web.api.schemas import Given, many
from web.portal.openid import begin_linking
from web.programs import program
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("sign-ins", __name__, tag="Sign-in")


class LivingSignInOut(Given):
    """A sign-in that lives. `provider` is null for one by password; `is_this` is the one that asks."""

    id: int
    created_at: datetime
    expires_at: datetime
    seen_at: datetime | None
    address: str | None
    program: str
    provider: str | None
    is_this: bool


class IdentityOut(Given):
    """Who I am at a provider."""

    provider: str
    issuer: str
    subject: str
    identifier: str | None
    groups: list[str]
    linked_at: datetime


class ContinueOut(Given):
    """Where the browser goes on; the cookie that comes with this answer must come along."""

    continue_at: str


@blueprint.get("/me/sign-ins")
@blueprint.output(many(LivingSignInOut))
@needs(Right.ACCOUNT)
def mine() -> list[LivingSignInOut]:
    """Where I am signed in"""
    with site().runtime.database.reading() as db:
        found = sign_ins.mine(db, person())
    return [LivingSignInOut(**{**vars(one), "program": program(one.program)}) for one in found]


@blueprint.delete("/me/sign-ins/<id:sign_in_id>")
@blueprint.doc(responses={204: "Ended", 404: "Not found"})
@needs(Right.ACCOUNT)
def revoke(sign_in_id: int) -> Response:
    """End one of my sign-ins

    The desktops and live pages that were opened through it are closed. Twice is once.
    """
    sign_ins.revoke(site().runtime, person(), sign_in_id)
    live.drop(sign_in_id)
    return make_response("", 204)


@blueprint.delete("/me/sign-ins")
@blueprint.doc(responses={204: "Ended"})
@needs(Right.ACCOUNT)
def revoke_others() -> Response:
    """End all my other sign-ins"""
    for sign_in_id in sign_ins.revoke_others(site().runtime, person()):
        live.drop(sign_in_id)
    return make_response("", 204)


@blueprint.get("/me/identities")
@blueprint.output(many(IdentityOut))
@needs(Right.ACCOUNT)
def identities() -> list[IdentityOut]:
    """Who I am at providers"""
    with site().runtime.database.reading() as db:
        return [IdentityOut.model_validate(one) for one in sign_ins.identities(db, person())]


@blueprint.post("/me/identities/<name>")
@blueprint.output(ContinueOut)
@blueprint.doc(responses=[404, 502])
@needs(Right.ACCOUNT)
def add_identity(name: str) -> Response:
    """Add an identity at this provider to my account

    For browsers: it goes on at the provider, and comes back to the account's page.
    """
    person()
    continue_at, kept = begin_linking(name)
    response = jsonify({"continue_at": continue_at})
    security.set_begun(response, kept)
    return response


@blueprint.delete("/me/identities/<name>")
@blueprint.doc(responses={204: "Removed", 404: "Not found", 409: "Conflict"})
@needs(Right.ACCOUNT)
def remove_identity(name: str) -> Response:
    """Remove my identity at this provider

    What was signed in with it is signed out, and what the provider gave me (groups, a role) goes with it. The last way
    to sign in stays.
    """
    for sign_in_id in unlinking.unlink(site().runtime, person(), name):
        live.drop(sign_in_id)
    return make_response("", 204)
