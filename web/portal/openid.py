"""The way to an OpenID provider and back, and the provider's word that somebody signed out there."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for

from broker.errors import BrokerError, LogoutRefused, SignInBroken, phrase
from broker.identity import arrivals, logout, openid
from web import live, security
from web.portal.pages import sign_in_page
from web.site import person, person_or_none, site
from web.visitors import came_from

blueprint = Blueprint("openid", __name__, url_prefix="/sign-in/<name>")


@blueprint.get("")
def begin(name: str) -> Response:
    """Send the browser to the provider."""
    wanted = security.safe_next(request.args.get("next"))
    if person_or_none() is not None:
        return make_response(redirect(wanted))
    public = site().settings.web.public_url
    if request.host != urlsplit(public).netloc and "here" not in request.args:
        # The answer comes to the public address, and only there would the browser show what it keeps for it.
        return make_response(redirect(public + url_for("openid.begin", name=name, next=wanted, here=1)))
    try:
        address, kept = openid.begin(site().runtime, name, callback_address(name), wanted)
    except BrokerError as error:
        return _refused(error, wanted)
    response = make_response(redirect(address, 303))
    security.set_begun(response, kept)
    return response


@blueprint.get("/callback")
def callback(name: str) -> Response:
    """The provider sent the browser back, with a code or with an error."""
    runtime, address = site().runtime, callback_address(name)
    wanted, linking = "/", None
    try:
        known = openid.begun(runtime, name, security.begun(), request.args)
        wanted, linking = security.safe_next(known.wanted), known.linking
        told = openid.finish(runtime, known, address, request.args)
        response = _linked(told, known.linking) if known.linking else _signed_in(told, wanted)
    except BrokerError as error:
        response = _refused(error, wanted) if linking is None else _not_linked(error)
    security.clear_begun(response)
    return response


def _signed_in(told: openid.Told, wanted: str) -> Response:
    token, _ = arrivals.arrive(site().runtime, told, came_from())
    response = make_response(redirect(wanted, 303))
    security.set_cookie(response, token)
    return response


def _linked(told: openid.Told, linking: int) -> Response:
    who = person_or_none()
    if who is None or who.sign_in_id != linking:
        raise SignInBroken("You are no longer signed in as who wanted to add this identity.", hint="Begin again.")
    arrivals.link(site().runtime, who, told)
    return make_response(redirect(url_for("my_account.page"), 303))


def _refused(error: BrokerError, wanted: str) -> Response:
    return make_response(sign_in_page(wanted, error), error.status)


def _not_linked(error: BrokerError) -> Response:
    return make_response(render_template("error.html", error=error, phrase=phrase(error.status)), error.status)


@blueprint.post("/logout")
def logged_out(name: str) -> Response:
    """Back-channel logout: the provider itself asks, and proves it by its signature."""
    try:
        ended = logout.by_provider(site().runtime, name, request.form.get("logout_token", ""))
    except LogoutRefused as error:
        answer = jsonify({"error": "invalid_request", "error_description": error.message})
        answer.status_code = error.status
        return answer
    for sign_in_id in ended:
        live.drop(sign_in_id)
    return make_response("", 200)


def callback_address(name: str) -> str:
    """Where the provider sends browsers back to: one address for each provider, so that no answer is taken for
    another's."""
    return site().settings.web.public_url + url_for("openid.callback", name=name)


def begin_linking(name: str) -> tuple[str, str]:
    """Where this person's browser goes to add an identity, and what it keeps meanwhile."""
    back = url_for("my_account.page")
    return openid.begin(site().runtime, name, callback_address(name), back, linking=person().sign_in_id)
