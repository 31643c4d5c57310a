"""Your account: who you are here, and where you are signed in."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template

from broker.identity import sign_ins
from broker.identity.rights import Right
from web.programs import program
from web.site import person, site

blueprint = Blueprint("my_account", __name__)


@blueprint.get("/account")
def page() -> str:
    """Who I am, by which identities, and my sign-ins."""
    return render_template("account.html", **_account())


@blueprint.get("/fragments/account")
def fragment() -> str:
    """The same, fetched afresh."""
    return render_template("fragments/account.html", **_account())


def _account() -> dict[str, Any]:
    who, providers = person(), site().settings.identity.providers
    who.must(Right.ACCOUNT)
    with site().runtime.database.reading() as db:
        mine, identities = sign_ins.mine(db, who), sign_ins.identities(db, who)
    linked = {identity.provider for identity in identities}
    return {
        "sign_ins": mine,
        "identities": identities,
        "provider_titles": {name: provider.title for name, provider in providers.items()},
        "can_add": {name: provider.title for name, provider in providers.items() if name not in linked},
        "program": program,
    }
