"""The page of one's own SSH keys."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, render_template

from broker.connections import keys as registered
from broker.connections.models import SshKey
from web.site import person, site

blueprint = Blueprint("keys_pages", __name__)


@blueprint.get("/keys")
def keys() -> str:
    """My SSH keys."""
    return render_template("keys.html", keys=_mine())


@blueprint.get("/fragments/keys")
def list_of_keys() -> str:
    """The same, fetched afresh."""
    return render_template("fragments/keys.html", keys=_mine())


def _mine() -> Sequence[SshKey]:
    with site().runtime.database.reading() as db:
        return registered.listed(db, person())
