"""Signing in and out, and who one is."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, jsonify, make_response, url_for

from broker.identity import logout
from broker.identity import service as identity
from broker.identity.rights import Right
from web import live, security
from web.api.schemas.people import PersonOut, SignInBody, SignInOut, SignOutOut
from web.guessing import check_password
from web.rights import for_everybody, needs
from web.site import person, person_or_none, site
from web.visitors import came_from

blueprint = APIBlueprint("sign-in", __name__, tag="Sign-in")


@blueprint.post("/sign-in")
@blueprint.input(SignInBody, arg_name="body")
@blueprint.output(SignInOut)
@blueprint.doc(responses=[401, 403, 429])
@for_everybody
def sign_in(body: SignInBody) -> Response:
    """Sign in

    Sets a cookie for browsers, and answers a token for programs.
    """
    token, who = check_password(site().runtime, body.name, body.password, came_from())
    response = jsonify(SignInOut(token=token, person=person_out(who)).model_dump(mode="json"))
    security.set_cookie(response, token)
    return response


@blueprint.post("/sign-out")
@blueprint.output(SignOutOut)
@blueprint.doc(responses={204: "Signed out"})
@for_everybody
def sign_out() -> Response:
    """Sign out

    Ends this sign-in; the desktops and live pages that were opened through it are closed. Twice is once. The
    answer says where a browser signs out of its provider, too, where that can be.
    """
    who, continue_at = person_or_none(), None
    if who is not None:
        back = site().settings.web.public_url + url_for("portal.sign_in")
        continue_at = logout.address_at_provider(site().runtime, who.sign_in_id, back)
        identity.sign_out(site().runtime, who)
        live.drop(who.sign_in_id)
    response = jsonify({"continue_at": continue_at}) if continue_at else make_response("", 204)
    security.clear_cookie(response)
    return response


@blueprint.get("/me")
@blueprint.output(PersonOut)
@needs(Right.READ)
def me() -> PersonOut:
    """Who I am"""
    return person_out(person())


def person_out(who: identity.Person) -> PersonOut:
    """The person as answered."""
    rights = [right for right in Right if who.may(right)]
    return PersonOut(name=who.name, full_name=who.full_name, role=who.role, groups=sorted(who.groups), rights=rights)
