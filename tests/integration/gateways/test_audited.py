"""Each opening and closing of a desktop is in the audit log: whose, from where, and by which sign-in."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from broker.events import Event
from broker.runtime import Runtime
from broker.sessions import service
from tests.integration.gateways.lab import Desk, Lab
from tests.waiting import until

Line = tuple[str, str, str | None, str | None]


def openings(runtime: Runtime, session_id: int) -> list[Line]:
    """What was done, by whom, from where, by what."""
    wanted = Event.action.in_(("session:connect", "session:disconnect"))
    with runtime.database.reading() as db:
        rows = db.execute(
            select(Event.action, Event.actor, Event.client, Event.via)
            .where(wanted, Event.kind == "session", Event.subject == str(session_id))
            .order_by(Event.id)
        )
        return [tuple(row) for row in rows]


def test_a_desktop_that_was_opened_and_left_is_two_lines(lab: Lab, desk: Desk) -> None:
    """A browser's and a program's, which show the same sign-in in their own ways; a refused one is none."""
    desk().greet()
    desk(headers={"Authorization": f"Bearer {desk.token}"}).greet()
    assert desk("nonsense").status == 401
    desk.close()
    until(lambda: len(desk.rows(open_=False)) == 2, "the rows to be closed")
    mine = f"sign-in {desk.person.sign_in_id}"
    assert openings(lab.runtime, desk.session_id) == [
        ("session:connect", "alice", "127.0.0.1", f"browser {mine}"),
        ("session:connect", "alice", "127.0.0.1", f"program {mine}"),
        *[("session:disconnect", "alice", "127.0.0.1", None)] * 2,
    ]


def test_a_desktop_that_beamdesk_closed_is_closed_in_the_log(lab: Lab, desk: Desk) -> None:
    """At the end of its session, with the connection's number in both lines."""
    desk().greet()
    service.end(lab.runtime, desk.person, desk.session_id)
    until(lambda: desk.rows(open_=False), "the row to be closed")
    with lab.runtime.database.reading() as db:
        lines = db.scalars(select(Event).where(Event.subject == str(desk.session_id)).order_by(Event.id)).all()
    numbers = {line.action: line.detail.get("connection") for line in lines}
    (row,) = desk.rows(open_=False)
    assert (numbers["session:connect"], numbers["session:disconnect"]) == (row.id, row.id)


def test_behind_a_proxy_the_address_is_the_viewers(own_lab: Callable[..., Lab]) -> None:
    """As the proxy saw it; what the viewer claims itself counts for nothing."""
    lab = own_lab(proxies=1)
    desk = lab.desk()
    desk(headers={**desk.headers, "X-Forwarded-For": "10.66.66.66, 203.0.113.5"}).greet()
    desk.close()
    until(lambda: desk.rows(open_=False), "the row to be closed")
    assert [line[2] for line in openings(lab.runtime, desk.session_id)] == ["203.0.113.5"] * 2
