"""Pictures of a course's desktops: for its teachers alone, of those who agreed, and once for all pages."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from broker import rfb
from broker.configuration import doors as machine_doors
from broker.courses import pictures, service
from broker.courses.pictures import Pictures
from broker.errors import MachineUnreachable, NotFound
from broker.events import Event
from broker.identity.rights import Role
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.sessions import service as sessions
from tests.doors import doors, trust
from tests.integration.sessions.test_courses import account, course, ready
from tests.integration.sessions.test_storm import fill
from tests.ports import free_port
from tests.unit.machine.test_measure import vnc_display


@pytest.fixture
def teacher(runtime: Runtime) -> Person:
    return account(runtime, "grace")


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> Iterator[None]:
    """A real Xvnc behind a machine's door."""
    trust(runtime.settings.state_dir)
    own = free_port()
    monkeypatch.setattr(pictures, "VNC_DOOR", own)
    with vnc_display(tmp_path) as (_, _, port), doors((("127.0.0.1", own), ("127.0.0.1", port))):
        yield


def test_a_teacher_sees_a_real_desktop_and_nobody_else_does(runtime: Runtime, teacher: Person, screen: None) -> None:
    """Over RFB, small, once for all pages; not of who did not consent, nor of another session of the same person."""
    fill(runtime, 3)
    made, token = course(runtime)
    bob, carol = account(runtime, "bob"), account(runtime, "carol")
    for person, shares in ((bob, True), (carol, False)):
        service.accept(runtime, person, token, pictures=shares)
        ready(runtime, service.sit_down(runtime, person, made.id))
    looks = Pictures(runtime)
    picture = Image.open(BytesIO(looks.of(teacher, made.id, bob.user_id)))
    assert (picture.format, picture.size) == ("JPEG", (320, 240))
    for person in (bob, carol, account(runtime, "ada", Role.ADMIN), account(runtime, "eve")):
        with pytest.raises(NotFound):
            looks.of(person, made.id, bob.user_id)
    with pytest.raises(NotFound, match="does not share"):
        looks.of(teacher, made.id, carol.user_id)
    service.share_pictures(runtime, bob, made.id, pictures=False)
    with pytest.raises(NotFound, match="does not share"):
        looks.of(teacher, made.id, bob.user_id)
    with runtime.database.reading() as db:
        assert db.scalars(select(Event.actor).where(Event.action == "course:watch")).all() == ["grace"]


def test_a_private_desktop_of_the_same_person_is_not_seen(runtime: Runtime, teacher: Person, screen: None) -> None:
    """Only what was launched in the course."""
    fill(runtime, 3)
    bob = account(runtime, "bob")
    own = sessions.request(runtime, bob, sessions.Wish("light"))
    ready(runtime, own)
    made, token = course(runtime, seats=1)
    service.accept(runtime, bob, token, pictures=True)
    with pytest.raises(NotFound, match="no desktop"):
        Pictures(runtime).of(teacher, made.id, bob.user_id)


def test_one_look_serves_all_pages(runtime: Runtime, teacher: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask at once."""
    fill(runtime, 1)
    made, token = course(runtime, seats=1)
    bob = account(runtime, "bob")
    service.accept(runtime, bob, token, pictures=True)
    ready(runtime, service.sit_down(runtime, bob, made.id))
    calls: list[str] = []

    def look(*where: object, timeout: float) -> rfb.Frame:
        calls.append(str(where))
        return rfb.Frame(4, 4, bytes(64))

    monkeypatch.setattr(machine_doors, "look", look)
    looks = Pictures(runtime)
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: looks.of(teacher, made.id, bob.user_id), range(8)))
    assert (len(found), len(calls)) == (1, 1)


def test_a_desktop_that_cannot_be_seen_is_not_looked_at_again_at_once(
    runtime: Runtime, teacher: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look may take seconds: pages that ask meanwhile are told at once, and later there is another one."""
    fill(runtime, 1)
    made, token = course(runtime, seats=1)
    bob = account(runtime, "bob")
    service.accept(runtime, bob, token, pictures=True)
    ready(runtime, service.sit_down(runtime, bob, made.id))
    monkeypatch.setattr(pictures, "VNC_DOOR", free_port())
    looks = Pictures(runtime)
    with pytest.raises(MachineUnreachable):
        looks.of(teacher, made.id, bob.user_id)
    monkeypatch.setattr(machine_doors, "look", lambda *_, **__: rfb.Frame(4, 4, bytes(64)))
    with pytest.raises(MachineUnreachable):
        looks.of(teacher, made.id, bob.user_id)
    patience = runtime.settings.courses.model_copy(update={"picture_seconds": 0})
    runtime.settings = runtime.settings.model_copy(update={"courses": patience})
    assert looks.of(teacher, made.id, bob.user_id)
