"""A guest of a desktop, with whom its owner shares it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, update

from broker.connections.models import Share
from broker.identity.models import User
from broker.identity.service import begin_sign_in
from broker.sharing import service as sharing
from tests.integration.gateways.lab import Desk


class Guest(Desk):
    """Somebody who has just signed in and comes by a share. Called, it is a viewer, as of Desk."""

    def __init__(self, desk: Desk, name: str, *, control: bool) -> None:
        with desk.lab.runtime.database.reading() as db:
            user = db.scalars(select(User).where(User.name == name)).one()
        token, person = begin_sign_in(desk.lab.runtime, user)
        super().__init__(desk.lab, person, token, desk.session_id)
        self.desk = desk
        self.share_id = self.shared(control=control)

    def shared(self, *, control: bool) -> int:
        """The owner shares it, or changes how."""
        wish = {"control": control, "lasts": timedelta(hours=1)}
        owner, name = self.desk.person, self.person.name
        return sharing.with_user(self.lab.runtime, owner, self.session_id, name, **wish).id  # type: ignore[arg-type]

    def ticket(self) -> str:
        """A fresh ticket of this guest's."""
        return sharing.ticket(self.lab.runtime, self.person, self.share_id)

    def withdraw(self) -> None:
        """The owner withdraws it."""
        sharing.withdraw(self.lab.runtime, self.desk.person, self.session_id, self.share_id)

    def set_share(self, **values: object) -> None:
        """Change the share's row."""
        with self.lab.runtime.database.transaction() as db:
            db.execute(update(Share).where(Share.id == self.share_id).values(**values))
