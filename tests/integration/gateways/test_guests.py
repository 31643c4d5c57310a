"""Guests come in by their share, are seen, and are out within a second when it is withdrawn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest

from broker.database import now
from broker.errors import NotFound
from broker.gateways import watch
from broker.identity.service import sign_out
from broker.sharing import overview
from broker.sharing import service as sharing
from tests.integration.gateways.guests import Guest
from tests.integration.gateways.lab import Desk, Lab, Screen
from tests.integration.gateways.test_admission import refused
from tests.integration.gateways.test_closing import CLOSED, heard
from tests.waiting import until


@pytest.fixture
def guest(desk: Desk) -> Iterator[Guest]:
    """Bob, with full control of Alice's desktop."""
    with closing(Guest(desk, "bob", control=True)) as made:
        yield made


def test_full_control_is_what_the_owner_can_do(guest: Guest, screen: Screen) -> None:
    """Keys of the guest's reach the desktop."""
    viewer = guest().greet()
    with screen.program("stdbuf", "-oL", "xev", "-geometry", "800x600+0+0") as printed:

        def pressed() -> bool:
            viewer.pointer(123, 234)
            viewer.key(ord("k"))
            return "keysym 0x6b, k" in printed()

        until(pressed, "the key in xev", every=0.2)


def test_a_guests_connection_is_the_guests(guest: Guest) -> None:
    """The row says who it is, by which share, and how."""
    guest().greet()
    (row,) = guest.rows(open_=True)
    assert (row.user_id, row.share_id, row.view_only) == (guest.person.user_id, guest.share_id, False)


def test_the_owner_sees_who_is_there(guest: Guest) -> None:
    """While the desktop is open, and no longer."""
    runtime = guest.lab.runtime

    def here() -> list[str | None]:
        with runtime.database.reading() as db:
            found = overview.here(db, [guest.session_id]).get(guest.session_id, [])
        return [one.user for one in found]

    assert here() == []
    viewer = guest().greet()
    assert here() == ["bob"]
    viewer.socket.close()
    until(lambda: here() == [], "the guest to have left")


def test_withdrawing_closes_the_socket_within_a_second(guest: Guest) -> None:
    """Every window of the guest's, and the owner's goes on."""
    owner, windows = guest.desk().greet(), [guest().greet(), guest().greet()]
    ended: list[float] = []

    def wait(number: int) -> None:
        assert heard(windows[number].end()) == CLOSED
        ended.append(time.monotonic())

    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(wait, number) for number in range(2)]
        begun = time.monotonic()
        guest.withdraw()
        for one in waiting:
            one.result(20)
    assert max(ended) - begun < 1.0
    assert owner.is_alive()
    until(lambda: len(guest.rows(open_=False)) == 2, "the rows to be closed")


def test_a_ticket_of_a_withdrawn_share_opens_nothing(guest: Guest) -> None:
    """It was good when it was issued; what counts is the share now. No other one is issued."""
    ticket = guest.ticket()
    guest.withdraw()
    refused(guest(ticket), 401, "ticket-refused")
    with pytest.raises(NotFound, match="no longer shared with you"):
        guest.ticket()


def test_a_ticket_of_a_share_whose_time_is_over_opens_nothing_and_what_is_open_closes(guest: Guest) -> None:
    """Nobody stays for longer than the owner said."""
    viewer, ticket = guest().greet(), guest.ticket()
    guest.set_share(expires_at=now() - timedelta(seconds=1))
    refused(guest(ticket), 401, "ticket-refused")
    assert heard(viewer.end()) == CLOSED


def test_another_ones_ticket_is_no_way_in(guest: Guest) -> None:
    """Neither the guest's in the owner's hands, nor the owner's in the guest's; each stays good for the right one."""
    theirs, own = guest.ticket(), guest.desk.ticket()
    refused(guest(theirs, headers=guest.desk.headers), 401, "ticket-refused")
    refused(guest(own, headers=guest.headers), 401, "ticket-refused")
    assert guest(theirs).greet().is_alive()


def test_of_many_who_show_one_guests_ticket_at_once_one_gets_in(guest: Guest) -> None:
    """As with the owner's."""
    ticket = guest.ticket()
    with ThreadPoolExecutor(8) as threads:
        statuses = sorted(viewer.status for viewer in threads.map(lambda _: guest(ticket), range(8)))
    assert statuses == [101, *[401] * 7]


def test_a_guest_who_signs_out_is_out(guest: Guest) -> None:
    """And the share stays."""
    viewer = guest().greet()
    sign_out(guest.lab.runtime, guest.person)
    assert heard(viewer.end()) == CLOSED


def test_the_end_of_the_session_closes_guests(guest: Guest) -> None:
    """Never longer than the session."""
    viewer = guest().greet()
    guest.desk.end_session()
    assert heard(viewer.end()) == CLOSED


def test_who_may_only_look_from_now_on_is_let_go_and_comes_back_as_such(guest: Guest, screen: Screen) -> None:
    """The owner takes the control back; what was open with it closes. And the other way round."""
    viewer = guest().greet()
    assert guest.shared(control=False) == guest.share_id
    assert heard(viewer.end()) == CLOSED
    looking = guest().greet()
    until(lambda: [row.view_only for row in guest.rows(open_=True)] == [True], "its row")
    guest.shared(control=True)
    assert heard(looking.end()) == CLOSED


def test_the_same_again_closes_nothing(guest: Guest) -> None:
    """Sharing for longer is no reason to cut anybody off."""
    viewer = guest().greet()
    assert guest.shared(control=True) == guest.share_id
    told: dict[int, float] = {}
    watch.look(guest.lab.runtime.database, told)
    assert told == {}, "whom it tells to end"
    assert viewer.is_alive()


def test_guests_never_keep_the_owner_out(own_lab: Callable[..., Lab]) -> None:
    """Each has so many windows, and no more."""
    lab = own_lab(connections_per_session=2)
    desk = lab.desk()
    guest = Guest(desk, "bob", control=False)
    windows = [guest().greet(), guest().greet()]
    refused(guest(), 429, "over-quota")
    assert desk().greet().is_alive()
    assert all(window.is_alive() for window in windows)


def test_withdrawing_and_opening_at_once_leaves_nobody_inside(guest: Guest) -> None:
    """Whatever comes first, a second later no connection of the share is open."""
    tickets = [guest.ticket() for _ in range(6)]
    threads = [threading.Thread(target=lambda token=token: guest(token)) for token in tickets]
    for thread in threads[:3]:
        thread.start()
    guest.withdraw()
    for thread in threads[3:]:
        thread.start()
    for thread in threads:
        thread.join(20)
    until(lambda: not guest.rows(open_=True), "all to be closed", 5)


def test_withdrawing_all_leaves_the_owner_alone(guest: Guest) -> None:
    """Only the guests' connections close."""
    owner, viewer = guest.desk().greet(), guest().greet()
    sharing.withdraw_all(guest.lab.runtime, guest.desk.person, guest.session_id)
    assert heard(viewer.end()) == CLOSED
    assert owner.is_alive()
