"""A desktop that is handed over: what its giver and its guests have open closes, and the receiver gets in."""

from __future__ import annotations

from contextlib import closing

import pytest
from playwright.sync_api import expect

from broker.errors import NotFound
from tests.integration.gateways.guests import Guest
from tests.integration.gateways.lab import Desk
from tests.integration.gateways.portal import Portal, connected
from tests.integration.gateways.receivers import handed_over
from tests.integration.gateways.test_admission import refused
from tests.integration.gateways.test_closing import CLOSED, heard
from tests.waiting import until


def test_handing_over_closes_what_was_open_and_the_receiver_gets_in(desk: Desk) -> None:
    """The giver's windows and the guests'; tickets from before open nothing, in whosever hands."""
    with closing(Guest(desk, "bob", control=True)) as guest:
        windows, tickets = [desk().greet(), guest().greet()], [desk.ticket(), guest.ticket()]
        receiver = handed_over(desk, "bob")
        assert [heard(window.end()) for window in windows] == [CLOSED] * 2
        for old, whose in zip(tickets, (desk, guest), strict=True):
            for headers in (whose.headers, receiver.headers):
                refused(whose(old, headers=headers), 401, "ticket-refused")
    with pytest.raises(NotFound, match="You have handed session"):
        desk.ticket()
    assert receiver().greet().frame()
    until(lambda: [row.user_id for row in receiver.rows(open_=True)] == [receiver.person.user_id], "the row")


def test_the_givers_page_says_that_it_was_handed_over_and_the_receivers_shows_it(desktops: Portal) -> None:
    """The desktop goes on, in another browser; over another desktop of the receiver's the offer is said."""
    with closing(desktops.lab.desk()) as desk, closing(desktops.lab.desk("bob")) as theirs:
        path = f"/desktop/{desk.session_id}"
        page = connected(desktops.open(desk.token, path))
        busy = connected(desktops.open(theirs.token, f"/desktop/{theirs.session_id}"))
        said = expect(busy.locator("#toasts"))
        receiver = handed_over(desk, "bob", lambda: said.to_contain_text("Alice hands a desktop over to you"))
        expect(page.locator("[data-cover]")).to_contain_text("You have handed session")
        connected(desktops.open(receiver.token, path))
