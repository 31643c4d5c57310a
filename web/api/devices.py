"""Signing a program in from a browser: it shows a code, its user confirms it on the page /device."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import request, url_for

from broker.identity import devices
from broker.identity.models import DeviceGrant
from broker.identity.rights import Right
from web.api.schemas.tokens import (
    DecisionBody,
    DeviceBody,
    DeviceOut,
    DeviceTokenBody,
    DeviceTokenOut,
    WaitingOut,
)
from web.api.sign_in import person_out
from web.api.tokens import shown
from web.rights import for_everybody, needs
from web.site import person, site

blueprint = APIBlueprint("devices", __name__, tag="Sign-in")
ONE = "/device/<user_code>"


@blueprint.post("/device")
@blueprint.input(DeviceBody, arg_name="body")
@blueprint.output(DeviceOut, 201)
@blueprint.doc(responses=[422, 429])
@for_everybody
def begin(body: DeviceBody) -> DeviceOut:
    """Ask for a program to be signed in from a browser

    Show `user_code` and `url`, then ask for the token every `interval` seconds.
    """
    rights = [Right(right) for right in body.rights]
    begun = devices.begin(site().runtime, body.program, str(request.remote_addr)[:64], rights)
    public = site().settings.web.public_url
    return DeviceOut(
        device_code=begun.device_code,
        user_code=begun.user_code,
        url=public + url_for("account.device"),
        url_with_code=public + url_for("account.device", code=begun.user_code),
        seconds=int(devices.LIVES.total_seconds()),
        interval=devices.INTERVAL,
    )


@blueprint.post("/device/token")
@blueprint.input(DeviceTokenBody, arg_name="body")
@blueprint.output(DeviceTokenOut, 201)
@blueprint.doc(responses=[403, 404, 409, 422])
@for_everybody
def token(body: DeviceTokenBody) -> DeviceTokenOut:
    """The program's token, once its user has confirmed the code

    Until then 409 `not-decided`; 403 where it was refused. It is told once.
    """
    secret, row, who = devices.redeem(site().runtime, body.device_code)
    return DeviceTokenOut(**shown(row), token=secret, person=person_out(who))


@blueprint.get(ONE)
@blueprint.output(WaitingOut)
@needs(Right.ACCOUNT)
def waiting(user_code: str) -> DeviceGrant:
    """Which program shows this code"""
    with site().runtime.database.reading() as db:
        return devices.waiting(db, user_code)


@blueprint.post(ONE)
@blueprint.input(DecisionBody, arg_name="body")
@blueprint.output(WaitingOut)
@blueprint.doc(responses=[422])
@needs(Right.ACCOUNT)
def decide(user_code: str, body: DecisionBody) -> DeviceGrant:
    """Let the program that shows this code sign in as me, or refuse it"""
    return devices.decide(site().runtime, person(), user_code, allow=body.allow)
