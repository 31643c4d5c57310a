"""What the policy does not allow does not pass the browser's door, whatever the viewer; the rest of the desktop does.

The policies are of groups (tests/conftest.py); one more, of a user, comes while the gateway runs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from sqlalchemy import select, update

from broker.events import Event
from broker.gateways.rfb_filter import CAPS, EXTENDED_CLIPBOARD, NOTIFY, PROVIDE, REQUEST, TEXT
from broker.identity.models import User
from tests.integration.gateways.guests import Guest
from tests.integration.gateways.lab import Desk, Lab, Screen
from tests.integration.gateways.test_view_only import (
    LARGEST,
    clipboards,
    encodings,
    extended,
    greedy,
    greeted,
    new,
    old,
    provided,
    silent,
    turncoat,
)
from tests.integration.gateways.wire import Viewer
from tests.waiting import until

NewMember = Callable[..., Desk]


@pytest.fixture
def member(lab: Lab) -> Iterator[NewMember]:
    """Carol's ready session; she is in these groups until the test is over."""
    with lab.runtime.database.transaction() as db:
        if db.scalar(select(User).where(User.name == "carol")) is None:
            db.add(User(name="carol", full_name="Carol", password_hash=""))

    def be_in(*groups: str) -> None:
        with lab.runtime.database.transaction() as db:
            db.execute(update(User).where(User.name == "carol").values(groups=list(groups)))

    with ExitStack() as stack:

        def make(*groups: str) -> Desk:
            be_in(*groups)
            return stack.enter_context(closing(lab.desk("carol")))

        yield make
    be_in()


def clipboard_of(screen: Screen) -> str:
    return screen.run("timeout", "5", "xclip", "-o", "-selection", "clipboard")


def offer(viewer: Viewer) -> None:
    """As a browser does: say that it knows the extended clipboard, and that it has something new."""
    everything = CAPS | REQUEST | NOTIFY | PROVIDE | TEXT
    viewer.send(encodings(0, EXTENDED_CLIPBOARD) + extended(everything, struct.pack(">I", LARGEST)))
    viewer.send(extended(NOTIFY | TEXT))


@pytest.mark.parametrize("says", [silent, old, new, greedy, turncoat])
def test_copies_do_not_leave_the_desktop_where_that_is_not_allowed(
    desk: Desk, member: NewMember, screen: Screen, says: Callable[[Viewer], None]
) -> None:
    """The owner, whatever the viewer says that it knows and wants, is handed what another one's viewer is handed who
    may: nothing of it."""
    free, viewer = greeted(desk()), greeted(member("nothing-out")())
    says(viewer)
    viewer.send(extended(REQUEST | TEXT))
    with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says="a secret"):
        until(lambda: -1 in clipboards(free), "the copy at a viewer that may have it")
        viewer.send(extended(REQUEST | TEXT))
        assert clipboards(viewer) <= {NOTIFY | TEXT, NOTIFY}


def test_pastes_go_in_where_only_copies_out_are_not_allowed(member: NewMember, screen: Screen) -> None:
    """In the old message, and in the extended one, where the desktop asks for it when somebody pastes; keys go, too."""
    viewer = member("nothing-out")().greet()
    viewer.copy(b"the old way")
    assert viewer.is_alive()
    assert clipboard_of(screen) == "the old way"
    viewer = member("nothing-out")().greet()
    offer(viewer)
    assert viewer.is_alive(), "the desktop has heard of it by then"
    with screen.program("stdbuf", "-oL", "xclip", "-o", "-selection", "clipboard") as printed:
        until(lambda: viewer.is_alive() and REQUEST | TEXT in viewer.clipboards, "the desktop to ask for it")
        viewer.send(provided("the new way"))
        until(lambda: printed() == "the new way", "what is pasted")
    with screen.program("stdbuf", "-oL", "xev", "-geometry", "800x600+0+0") as keys:

        def pressed() -> bool:
            viewer.pointer(123, 234)
            viewer.key(ord("k"))
            return "keysym 0x6b, k" in keys()

        until(pressed, "the key in xev", every=0.2)


def test_pastes_do_not_reach_the_desktop_where_that_is_not_allowed(
    desk: Desk, member: NewMember, screen: Screen
) -> None:
    """In either message, large or small; copies still leave it."""
    free, viewer = desk().greet(), member("nothing-in")().greet()
    free.copy(b"from one who may")
    free.is_alive()
    viewer.copy(b"from one who may not")
    viewer.copy(b"b" * 500_000)
    offer(viewer)
    viewer.send(provided("the new way"))
    assert viewer.is_alive()
    assert clipboard_of(screen) == "from one who may"
    old_viewer = greeted(member("nothing-in")())
    with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says="out"):
        until(lambda: -1 in clipboards(old_viewer), "the copy")


def test_a_guest_gets_no_more_than_the_owner_and_no_more_than_the_guest(
    lab: Lab, desk: Desk, member: NewMember
) -> None:
    """Full control of a desktop whose owner may not copy out of it does not copy out of it either, and a guest's own
    policy holds at a desktop whose owner may."""
    owner = member("nothing-out")
    with closing(Guest(owner, "alice", control=True)) as guest, closing(Guest(desk, "carol", control=True)) as carol:
        for one in (guest, carol):
            one().greet()
            assert forbidden(lab, one.session_id)[-1] == ["clipboard_out", "files_out", "printing", "audio"]


def forbidden(lab: Lab, session_id: int) -> list[list[str]]:
    """What was not allowed to each connection of the session, as the audit log has it."""
    opened = (Event.action == "session:connect", Event.subject == str(session_id))
    with lab.runtime.database.reading() as db:
        rows = db.scalars(select(Event).where(*opened).order_by(Event.id)).all()
    return [row.detail["not_allowed"] for row in rows]


def test_changed_groups_and_settings_hold_from_the_next_connection_on(lab: Lab, member: NewMember) -> None:
    """The log says at each connection what was not allowed to it; what is open goes on as it was."""
    desk = member("nothing-in", "nothing-out")
    first = desk().greet()
    member()
    desk().greet()
    config = lab.folder / "beamdesk.toml"
    before = config.read_text()
    config.write_text(f'{before}\n[policies.late]\nusers = ["carol"]\naudio = false\n')
    try:

        def held() -> bool:
            desk().greet().socket.close()
            return forbidden(lab, desk.session_id)[-1] == ["audio"]

        until(held, "the settings that were written under the gateway", every=0.5)
    finally:
        config.write_text(before)
    everything = ["clipboard_in", "clipboard_out", "files_in", "files_out", "printing", "audio"]
    assert forbidden(lab, desk.session_id)[:2] == [everything, []]
    assert first.is_alive()
