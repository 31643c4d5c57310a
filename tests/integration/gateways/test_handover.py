"""A desktop that is handed over: what its giver and its guests have open closes, and the receiver gets in."""

from __future__ import annotations

from contextlib import closing

import pytest

from broker.errors import NotFound
from tests.integration.gateways.guests import Guest
from tests.integration.gateways.lab import Desk
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
