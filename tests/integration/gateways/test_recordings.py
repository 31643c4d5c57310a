"""While support looks, that window alone is recorded, whole and with its times; and owner and auditor replay it."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from broker.connections.models import ShareKind
from broker.identity.models import User
from broker.identity.rights import Role
from broker.identity.service import person_of
from broker.sharing import recordings, support
from broker.sharing.models import Answer
from tests.integration.gateways.guests import Guest
from tests.integration.gateways.lab import Desk, Lab
from tests.integration.gateways.test_admission import refused
from tests.waiting import until


class Helper(Guest):
    """Bob of support, whom Alice let in."""

    def shared(self, *, control: bool) -> int:
        runtime = self.lab.runtime
        with runtime.database.transaction() as db:
            db.execute(update(User).where(User.name == "bob").values(role=Role.SUPPORT))
        with runtime.database.reading() as db:
            user = db.get_one(User, self.person.user_id)
            self.person = person_of(user, self.person.sign_in_id)
        request = support.ask(runtime, self.person, self.session_id, "your plot does not open")
        answer = Answer.CONTROL if control else Answer.LOOK
        share = support.answer(runtime, self.desk.person, request.id, answer).share_id
        assert share is not None
        return share


@pytest.fixture
def helper(desk: Desk) -> Iterator[Helper]:
    """Bob, who may look."""
    with closing(Helper(desk, "bob", control=False)) as made:
        yield made
    with desk.lab.runtime.database.transaction() as db:
        db.execute(update(User).where(User.name == "bob").values(role=Role.USER))


def folder(lab: Lab) -> Path:
    return lab.runtime.settings.recordings_dir


def recorded(lab: Lab) -> set[str]:
    """The names of all recordings there are."""
    return {file.name for file in folder(lab).glob("*")} if folder(lab).exists() else set()


def blocks(file: Path) -> list[tuple[bytes, int]]:
    """The recording's blocks, each with its milliseconds."""
    data, found = file.read_bytes(), []
    assert data.startswith(recordings.MAGIC)
    place = len(recordings.MAGIC)
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 4 + length + -length % 4
        found.append((data[place + 4 : place + 4 + length], struct.unpack_from(">I", data, end)[0]))
        place = end + 4
    return found


def file_of(helper: Helper) -> Path:
    (row,) = [row for row in (*helper.rows(open_=True), *helper.rows(open_=False)) if row.share_id == helper.share_id]
    return folder(helper.lab) / f"{row.id}.fbs"


def test_what_support_is_shown_is_recorded_to_the_byte(helper: Helper) -> None:
    """From the handshake to the last picture, with the times between them, readable by the broker's account alone."""
    viewer = helper().greet()
    first = viewer.frame()
    time.sleep(0.3)
    viewer.frame()
    viewer.socket.close()
    until(lambda: not helper.rows(open_=True), "the window to close")
    found = blocks(file_of(helper))
    whole = b"".join(data for data, _ in found)
    assert whole.startswith(b"RFB 003.008\n\x01\x01\0\0\0\0" + struct.pack(">HH", 800, 600))
    assert whole.count(first[:4096]) >= 2
    times = [moment for _, moment in found]
    assert times == sorted(times)
    assert 300 <= times[-1] < 20_000
    assert (os.stat(folder(helper.lab)).st_mode & 0o777, folder(helper.lab).stat().st_uid) == (0o700, os.getuid())


def test_nothing_else_is_recorded(lab: Lab, desk: Desk) -> None:
    """Neither the owner's window nor a guest's."""
    before = recorded(lab)
    with closing(Guest(desk, "bob", control=True)) as guest:
        assert desk().greet().is_alive()
        assert guest().greet().is_alive()
    assert recorded(lab) == before


def test_nobody_of_support_looks_in_unrecorded(helper: Helper) -> None:
    """Where the recording cannot be begun, the window is not opened; the owner's is."""
    place = folder(helper.lab)
    away = place.with_name("away")
    place.mkdir(exist_ok=True)
    place.rename(away)
    place.write_text("a file in the folder's place")
    try:
        refused(helper(), 503, "service-down")
        assert helper.desk().greet().is_alive()
    finally:
        place.unlink()
        away.rename(place)


def test_a_break_glass_window_is_recorded(lab: Lab, desk: Desk) -> None:
    """As one of support."""

    class Breaker(Guest):
        def shared(self, *, control: bool) -> int:
            with self.lab.runtime.database.transaction() as db:
                user = db.get_one(User, self.person.user_id)
                user.role = Role.ADMIN
            self.person = person_of(user, self.person.sign_in_id)
            return support.break_glass(self.lab.runtime, self.person, self.session_id, "why", control=control).id

    before = recorded(lab)
    with closing(Breaker(desk, "bob", control=False)) as breaker:
        assert breaker().greet().is_alive()
        assert len(recorded(lab) - before) == 1
        with lab.runtime.database.reading() as db:
            (found,) = recordings.of_sessions(db, lab.runtime.settings, [desk.session_id])[desk.session_id]
        assert (found.full_name, found.kind, found.reason) == ("Bob", ShareKind.BREAK_GLASS, "why")
    with lab.runtime.database.transaction() as db:
        db.execute(update(User).where(User.name == "bob").values(role=Role.USER))


def test_old_recordings_go(helper: Helper) -> None:
    """After the days that the settings say, and no sooner."""
    settings = helper.lab.runtime.settings
    helper().greet()
    file = file_of(helper)
    recordings.forget_old(settings)
    assert file.exists()
    past = time.time() - timedelta(days=settings.recordings.keep_days, minutes=1).total_seconds()
    os.utime(file, (past, past))
    recordings.forget_old(settings)
    assert not file.exists()
