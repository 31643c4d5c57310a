"""Somebody to whom a desktop is handed over, by the two who do it."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TypeVar

from sqlalchemy import select, update

from broker.identity.models import User
from broker.identity.service import begin_sign_in
from broker.sessions.models import UserSession
from broker.sharing import handover
from tests.integration.gateways.lab import PORTAL, Desk

TEAM = "rb123"
OneDesk = TypeVar("OneDesk", bound=Desk)


def handed_over(desk: OneDesk, name: str, meanwhile: Callable[[], object] = lambda: None) -> OneDesk:
    """The same desktop in the hands of the user of that name, who has signed in, and accepts it after `meanwhile`."""
    runtime, to = desk.lab.runtime, update(User).where(User.name == name)
    with runtime.database.transaction() as db:
        groups = db.scalars(select(User.groups).where(User.name == name)).one()
        db.execute(to.values(groups=[TEAM]))
        db.execute(update(UserSession).where(UserSession.id == desk.session_id).values(group=TEAM))
    with runtime.database.reading() as db:
        user = db.scalars(select(User).where(User.name == name)).one()
    token, person = begin_sign_in(runtime, user)
    offer = handover.offer(runtime, desk.person, desk.session_id, name)
    meanwhile()
    handover.accept(runtime, person, offer.id)
    with runtime.database.transaction() as db:
        db.execute(to.values(groups=groups))
    made = copy(desk)
    made.person, made.token = person, token
    made.headers = {"Origin": PORTAL, "Cookie": f"beamdesk={token}"}
    return made
