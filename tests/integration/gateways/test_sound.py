"""Who hears a desktop, until when, and that a browser which does not listen costs nothing.

The machine is a server behind a machine's door, with pages as its encoder sends them; the encoder itself is in
tests/integration/machine and tests/journeys.
"""

from __future__ import annotations

import itertools
import re
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import select, update

from broker.connections.models import Connection, Way
from broker.errors import PolicyForbids
from broker.events import Event
from broker.gateways import processes
from broker.identity import service as identity
from broker.identity.models import User
from broker.identity.service import person_of
from broker.sessions import service
from broker.sharing import service as sharing
from tests.integration.gateways.guests import Guest
from tests.integration.gateways.lab import ADDRESS, SOUND, Desk, Lab
from tests.integration.gateways.portal import Portal, connected
from tests.integration.gateways.test_admission import refused
from tests.integration.gateways.test_closing import CLOSED, heard
from tests.integration.gateways.test_recordings import Helper, helper  # noqa: F401 - a fixture
from tests.integration.gateways.wire import Viewer
from tests.waiting import until

PATH = "/sound"
BODY = 4000
SEGMENTS = bytes([255] * (BODY // 255) + [BODY % 255])


def page(number: int) -> bytes:
    """A page with this number."""
    return struct.pack("<5sBqIIIB", b"OggS", 0, 0, 1, number, 0, len(SEGMENTS)) + SEGMENTS + bytes(BODY)


def number_of(message: bytes) -> int:
    """The page's, where the message is a whole one."""
    number = int(struct.unpack_from("<I", message, 18)[0])
    assert message == page(number)
    return number


class Machine:
    """What listens behind the machine's door. Who comes is sent these pages, as fast as it is taken."""

    def __init__(self, pages: Iterable[bytes]) -> None:
        self.sent = self.listeners = 0
        self._pages = pages
        self._server = socket.create_server((ADDRESS, SOUND))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._send, args=(self._server.accept()[0],), daemon=True).start()

    def _send(self, listener: socket.socket) -> None:
        self.listeners += 1
        with listener, suppress(OSError):
            for piece in self._pages:
                listener.sendall(piece)
                self.sent += len(piece)
            listener.recv(1)  # until it leaves
        self.listeners -= 1

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@contextmanager
def machine(pages: Iterable[bytes] = ()) -> Iterator[Machine]:
    with closing(Machine(pages)) as made:
        yield made


def ticket(desk: Desk) -> str:
    """A ticket of this sign-in for the sound, by what the policy is now."""
    runtime = desk.lab.runtime
    with runtime.database.reading() as db:
        person = person_of(db.get_one(User, desk.person.user_id), desk.person.sign_in_id)
    if isinstance(desk, Guest):
        return sharing.ticket(runtime, person, desk.share_id, Way.SOUND)
    return service.sound_ticket(runtime, person, desk.session_id)


def listen(desk: Desk, token: str | None = None) -> Viewer:
    """A listener, or one who was refused."""
    return desk(ticket(desk) if token is None else token, path=PATH)


def test_a_listener_is_sent_pages_beside_the_desktop_and_the_encoder_ends_with_it(lab: Lab, desk: Desk) -> None:
    """A message for each page, however they come; it is in the log, and not among the windows."""
    cut = re.findall(rb"(?s).{1,1000}", b"".join(map(page, range(5))))
    with machine(cut) as sounding:
        viewer = desk().greet()
        listener = listen(desk)
        assert [number_of(listener.message()) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert [row.way for row in desk.rows(open_=True)] == [Way.BROWSER, Way.SOUND]
        listener.socket.close()
        until(lambda: not sounding.listeners, "the machine to be left")
        until(lambda: [row.way for row in desk.rows(open_=False)] == [Way.SOUND], "its row to be closed")
    assert viewer.is_alive()
    with lab.runtime.database.reading() as db:
        mine = select(Event).where(Event.subject == str(desk.session_id)).order_by(Event.id)
        told = [(row.action, row.detail.get("way")) for row in db.scalars(mine) if row.detail.get("way") == Way.SOUND]
    assert told == [("session:ticket", "sound"), ("session:connect", "sound")]


def test_no_other_ticket_opens_the_sound_and_its_own_opens_nothing_else(lab: Lab, desk: Desk) -> None:
    """Not the desktop's, nor another sign-in's, nor one that was used; and a wrong try uses none up."""
    with machine():
        bob, good, used = lab.desk("bob"), ticket(desk), ticket(desk)
        assert listen(desk, used).status == 101
        for wrong in (desk.ticket(), used, ticket(bob), "made-up", ""):
            refused(listen(desk, wrong), 401, "ticket-refused")
        refused(bob(good, path=PATH), 401, "ticket-refused")
        refused(desk(good), 401, "ticket-refused")
        refused(desk(good, path=PATH, headers={**desk.headers, "Origin": "https://evil.example"}), 403, "wrong-origin")
        assert listen(desk, good).status == 101


def in_groups(lab: Lab, name: str, *groups: str) -> None:
    with lab.runtime.database.transaction() as db:
        db.execute(update(User).where(User.name == name).values(groups=list(groups)))


@pytest.mark.parametrize("forbidden", ["alice", "bob"])
def test_nobody_hears_where_the_policy_of_either_forbids_it(lab: Lab, desk: Desk, forbidden: str) -> None:
    """Neither gets a ticket, and one that was given before opens nothing; where both may, the guest hears."""
    with machine(), closing(Guest(desk, "bob", control=False)) as guest:
        assert listen(guest).status == 101
        before = ticket(guest)
        in_groups(lab, forbidden, "nothing-out")
        try:
            with pytest.raises(PolicyForbids, match="Sound is not allowed here"):
                ticket(guest)
            refused(listen(guest, before), 403, "policy-forbids")
            if forbidden == "bob":
                assert listen(desk).status == 101
            else:
                with pytest.raises(PolicyForbids):
                    ticket(desk)
        finally:
            in_groups(lab, forbidden)


def test_support_sees_recorded_and_hears_nothing(helper: Helper) -> None:  # noqa: F811
    with pytest.raises(PolicyForbids, match="could not be recorded"):
        ticket(helper)


def _ended(desk: Desk, _: Guest) -> None:
    desk.end_session()


def _signed_out(desk: Desk, _: Guest) -> None:
    identity.sign_out(desk.lab.runtime, desk.person)


def _withdrawn(_: Desk, guest: Guest) -> None:
    guest.withdraw()


@pytest.mark.parametrize(
    ("listens", "over"), [("owner", _ended), ("owner", _signed_out), ("guest", _withdrawn), ("guest", _ended)]
)
def test_what_closes_a_desktop_closes_its_sound(desk: Desk, listens: str, over: Callable[[Desk, Guest], None]) -> None:
    with machine() as sounding, closing(Guest(desk, "bob", control=False)) as guest:
        listener = listen(guest if listens == "guest" else desk)
        over(desk, guest)
        assert heard(listener.end()) == CLOSED
        until(lambda: not sounding.listeners, "the machine to be left")


def memory(pid: int) -> int:
    """kB that are the process's own."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Private_Dirty"))


def test_a_browser_that_stalls_costs_no_memory_and_then_hears_what_is_new(desk: Desk) -> None:
    """The machine is read all the time; what the browser does not take is left out, in whole pages."""
    with machine(map(page, itertools.count())) as sounding:
        listener = listen(desk)
        number_of(listener.message())
        (row,) = desk.rows(open_=True)
        before = memory(row.pid)
        until(lambda: sounding.sent > 30_000_000, "much to be said meanwhile")
        assert memory(row.pid) - before < 2000
        numbers = [number_of(listener.message()) for _ in range(1000)]
    assert sorted(numbers) == numbers
    late = next(place for place, (one, following) in enumerate(itertools.pairwise(numbers)) if following - one > 2000)
    assert late * BODY < 2_000_000, "old sound came for too long"


def test_a_machine_that_says_something_else_is_left(desk: Desk) -> None:
    with machine([page(1), b"RFB 003.008\n"]) as sounding:
        assert heard(listen(desk).end()) == (1013, "what the machine says is no sound")
        until(lambda: not sounding.listeners, "the machine to be left")


def test_a_machine_without_sound_is_a_clear_answer(lab: Lab) -> None:
    refused(listen(lab.desk(address="127.92.0.1")), 503, "machine-unreachable")


REAL = ("gst-launch-1.0", "-q", "audiotestsrc", "num-buffers=100", "!", "opusenc", "!", "oggmux", "!", "fdsink")
WORDS = "[data-sound-words]"


def test_the_page_comes_back_to_the_sound_by_itself_and_of_two_windows_one_plays(desktops: Portal) -> None:
    """A broken stream and a killed connection are followed by the next one, with a ticket of its own; another window
    waits for the first one's end, and begins with a click; at the session's end it is off."""
    desk = desktops.lab.desk()
    stream = subprocess.run(REAL, capture_output=True, check=True).stdout
    with machine([stream, page(7), page(8)]):
        first = connected(desktops.open(desk.token, f"/desktop/{desk.session_id}"))
        first.get_by_role("button", name="Sound").click()
        expect(first.locator(WORDS)).to_have_text("Sound is on")
        (row,) = listeners(desk)
        processes.end(row.pid, row.id, signal.SIGKILL)
        until(lambda: {each.id for each in listeners(desk)} - {row.id}, "the next connection")
        expect(first.locator(WORDS)).to_have_text("Sound is on")
        second = first.context.new_page()
        second.goto(first.url)
        expect(second.locator(WORDS)).to_have_text("Another window plays the sound")
        first.close()
        connected(second).locator("#screen canvas").click()
        expect(second.locator(WORDS)).to_have_text("Sound is on")
        desk.end_session()
        expect(second.locator(WORDS)).to_have_text("Sound is off")
        until(lambda: not listeners(desk), "the sound to be closed")


def listeners(desk: Desk) -> list[Connection]:
    """The open connections that listen."""
    return [row for row in desk.rows(open_=True) if row.way == Way.SOUND]
