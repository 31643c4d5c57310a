"""A course in the real browser: the teacher's view, the invitation, the seat; at a laptop's and a phone's width."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select

from broker.courses import pictures, service
from broker.courses.service import Lesson
from broker.database import now
from broker.identity.models import User
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.sessions.models import UserSession
from tests.conftest import NewPerson
from tests.doors import doors, trust
from tests.integration.web.conftest import NewMachines, OpenAs, SignedIn
from tests.integration.web.test_admin import HEADER
from tests.ports import free_port
from tests.unit.machine.test_measure import vnc_display

ROOT = "/api/v1/courses"
PICTURES = Path("build/pictures")


def body(**more: object) -> dict[str, Any]:
    begin = now()
    times = {"starts_at": begin.isoformat(), "ends_at": (begin + timedelta(hours=2)).isoformat()}
    return {"title": "Mantid for beginners", "environment": "light", "seats": 4, **times, **more}


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> Iterator[None]:
    """A real Xvnc, coloured, behind a machine's door."""
    trust(runtime.settings.state_dir)
    own = free_port()
    monkeypatch.setattr(pictures, "VNC_DOOR", own)
    with vnc_display(tmp_path) as (number, _, port):
        access = {"XAUTHORITY": str(tmp_path / "xauthority"), "DISPLAY": f":{number}", "PATH": "/usr/bin:/bin"}
        subprocess.run(["xsetroot", "-solid", "#2266aa"], env=access, check=True)
        with doors((("127.0.0.1", own), ("127.0.0.1", port))):
            yield


@pytest.fixture
def on_screen(runtime: Runtime, make_ready: Callable[[int], None]) -> Callable[[int], None]:
    """The session's desktop is the real Xvnc."""

    def show(session_id: int) -> None:
        make_ready(session_id)
        with runtime.database.transaction() as db:
            session = db.get_one(UserSession, session_id)
            session.password = "password"
            db.get_one(Machine, session.machine_id).address = "127.0.0.1"

    return show


def loaded(page: Page, image: str) -> bool:
    """Whether the picture is there, and blue."""
    script = """(image) => {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 4;
        if (!image.complete || !image.naturalWidth) return false;
        canvas.getContext("2d").drawImage(image, 0, 0, 4, 4);
        const [red, , blue] = canvas.getContext("2d").getImageData(1, 1, 1, 1).data;
        return blue > 140 && red < 80;
    }"""
    return bool(page.locator(image).evaluate(script))


class Invited(NamedTuple):
    """A course that runs now, with four warm seats."""

    course: int
    page: str  # its teacher's
    link: str


@pytest.fixture
def invited(runtime: Runtime, new_person: NewPerson, new_machines: NewMachines) -> Invited:
    """Grace's."""
    new_machines("light-ral", 4)
    begin = now()
    lesson = Lesson("Mantid for beginners", "light", 4, begin, begin + timedelta(hours=2))
    course, token = service.make(runtime, new_person("grace", admin=True), lesson)
    return Invited(course.id, f"/courses/{course.id}", f"/join/{token}")


def session_of(runtime: Runtime, name: str) -> int:
    """The one session of this person."""
    with runtime.database.reading() as db:
        return db.scalars(
            select(UserSession.id).join(User, User.id == UserSession.user_id).where(User.name == name)
        ).one()


def seated(open_as: OpenAs, name: str, link: str, button: str = "I agree, take my seat", width: int = 1280) -> Page:
    """Somebody who has opened the link and taken the seat."""
    page = open_as(name, link, width=width)
    page.get_by_role("button", name=button).click()
    page.wait_for_url("**/seat")
    return page


def fits(page: Page) -> bool:
    """Whether nothing on the page is wider than a phone."""
    return bool(page.evaluate("document.documentElement.scrollWidth") <= 390)


def test_a_teacher_makes_a_course_and_is_told_its_link(open_as: OpenAs, new_machines: NewMachines) -> None:
    """On a page that shows at once how many seats are warm."""
    new_machines("light-ral", 4)
    teacher = open_as("grace", "/courses", admin=True, timezone_id="Europe/Berlin")
    expect(teacher.locator("#courses")).to_contain_text("There is no course.")
    teacher.get_by_role("button", name="New course").click()
    teacher.get_by_label("Title").fill("Mantid for beginners")
    teacher.locator("#confirm [name=seats]").fill("4")
    expect(teacher.locator("#confirm")).to_contain_text("From (Europe/Berlin)")
    teacher.evaluate("""() => {
        const at = new Date(Date.now() - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 16);
        document.querySelector("[name=starts_at]").value = at;
    }""")
    teacher.screenshot(path=PICTURES / "course-new.png")
    teacher.get_by_role("button", name="Make it").click()
    expect(teacher.locator("#course-link [data-link]")).to_contain_text("/join/")
    teacher.get_by_role("button", name="Done").click()
    teacher.get_by_role("link", name="Open").click()
    expect(teacher.locator("#course")).to_contain_text("4 of 4 seats ready, 0 arrived")


def test_a_pupil_joins_and_the_teacher_sees_the_desktop_until_the_pupil_says_no(
    open_as: OpenAs, runtime: Runtime, invited: Invited, screen: None, on_screen: Callable[[int], None]
) -> None:
    """Arrived, accepted, seated, seen; and hidden again."""
    teacher = open_as("grace", invited.page, admin=True)
    pupil = open_as("bob", invited.link, width=390)
    expect(pupil.locator("main")).to_contain_text("What your teacher sees")
    pupil.screenshot(path=PICTURES / "course-join-phone.png", full_page=True)
    assert fits(pupil)
    expect(teacher.locator(".seat")).to_contain_text("Reads the notice")
    pupil.get_by_role("button", name="I agree, take my seat").click()
    pupil.wait_for_url("**/seat")
    pupil.screenshot(path=PICTURES / "course-seat-phone.png", full_page=True)
    pupil.get_by_role("button", name="Open my desktop").click()
    expect(pupil.locator("#launch")).to_be_visible()
    on_screen(session_of(runtime, "bob"))
    image = 'img[alt="The desktop of Bob"]'
    expect(teacher.locator(image)).to_be_visible()
    teacher.wait_for_function("image => document.querySelector(image).naturalWidth > 0", arg=image)
    assert loaded(teacher, image)
    teacher.screenshot(path=PICTURES / "course.png")
    pupil.goto(pupil.url.split("/courses")[0].split("/desktop")[0] + f"/courses/{invited.course}/seat")
    pupil.get_by_role("button", name="Stop sharing").click()
    expect(pupil.locator("#seat")).to_contain_text("Your teacher sees no picture of your desktop.")
    expect(teacher.locator(image)).to_have_count(0)


def test_who_is_seen_is_told_so_wherever_the_desktop_is(
    open_as: OpenAs, runtime: Runtime, invited: Invited, site: str, make_ready: Callable[[int], None]
) -> None:
    """In the desktop's own bar, and among one's desktops."""
    pupil = seated(open_as, "bob", invited.link, width=390)
    pupil.get_by_role("button", name="Open my desktop").click()
    expect(pupil.locator("#launch")).to_be_visible()
    make_ready(session_of(runtime, "bob"))
    pupil.wait_for_url(f"{site}/desktop/{session_of(runtime, 'bob')}")  # where the page leads by itself
    expect(pupil.locator("[data-do=extend]")).to_have_count(0)
    expect(pupil.locator("#watched")).to_have_attribute(
        "title", "In Mantid for beginners your teacher sees a small picture of this desktop, until the course ends"
    )
    pupil.screenshot(path=PICTURES / "course-desktop-phone.png")
    pupil.goto(f"{site}/")
    expect(pupil.locator("#sessions")).to_contain_text("Your teacher sees a small picture")
    pupil.screenshot(path=PICTURES / "course-portal-phone.png")


def test_a_course_that_is_over_says_so_to_everybody_who_still_looks(open_as: OpenAs, invited: Invited) -> None:
    """The teacher's page, on a phone, too; and the page of a seat, whose seat has gone, which complains of nothing."""
    pupil = seated(open_as, "carol", invited.link, "Take my seat without pictures")
    teacher = open_as("grace", invited.page, admin=True, width=390)
    expect(teacher.locator(".seats")).to_contain_text("Takes part without pictures")
    teacher.screenshot(path=PICTURES / "course-phone.png", full_page=True)
    assert fits(teacher)
    teacher.get_by_role("button", name="End the course").click()
    teacher.get_by_role("button", name="End it").click()
    expect(teacher.locator("#course")).to_contain_text("This course is over.")
    expect(pupil.locator("main")).to_contain_text("This course is over, or you have no seat in it.")
    expect(pupil.locator("#toasts > *")).to_have_count(0)


def test_teachers_are_added_and_removed_on_the_courses_page(
    open_as: OpenAs, invited: Invited, new_person: NewPerson
) -> None:
    """By account; the only one cannot be taken away; who leaves is led to the list."""
    new_person("hopper")
    page = open_as("grace", invited.page, admin=True)
    teachers = page.get_by_role("list", name="Teachers")
    expect(teachers).to_contain_text("Grace")
    expect(teachers.get_by_role("button", name="teaches no longer")).to_have_count(0)
    teachers.get_by_role("button", name="Add a teacher").click()
    for name, words in (("nobody", "There is no account 'nobody'."), ("hopper", "hopper teaches Mantid for beginners")):
        page.locator("#confirm").get_by_label("Account name").fill(name)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator("body")).to_contain_text(words)
    expect(teachers).to_contain_text("Hopper")
    page.screenshot(path=PICTURES / "course-teachers.png")
    other = open_as("hopper", invited.page)
    teachers.get_by_role("button", name="Grace teaches no longer").click()
    page.get_by_role("button", name="Leave it").click()
    page.wait_for_url("**/courses")
    expect(other.get_by_role("list", name="Teachers")).not_to_contain_text("Grace")
    expect(other.get_by_role("button", name="teaches no longer")).to_have_count(0)


def test_who_comes_when_all_seats_are_taken_is_told_so_before_a_click(
    runtime: Runtime, invited: Invited, new_person: NewPerson, signed_in: SignedIn
) -> None:
    """On the page of the invitation itself."""
    token = invited.link.rsplit("/", 1)[1]
    for name in ("bob", "carol", "dan", "erin"):
        assert "I agree" in signed_in(name).get(invited.link).text
        service.accept(runtime, new_person(name), token, pictures=True)
    page = signed_in("eve").get(invited.link).text
    assert "All 4 seats are taken." in page
    assert "I agree" not in page


def test_what_cannot_be_extended_is_not_offered_to_be(
    runtime: Runtime, invited: Invited, signed_in: SignedIn, make_ready: Callable[[int], None]
) -> None:
    """A desktop that ends with its course: the warning says to save one's work, and no more."""
    bob = signed_in("bob")
    bob.post(f"{ROOT}/join", json={"token": invited.link.rsplit("/", 1)[1], "pictures": True})
    session = bob.post(f"{ROOT}/{invited.course}/seat", headers=HEADER).json["id"]
    make_ready(session)
    with runtime.database.transaction() as db:
        row = db.get_one(UserSession, session)
        row.bound_until = row.expires_at = now() + timedelta(minutes=9)
    notice = bob.get("/fragments/notices").text
    assert "Save your work." in notice
    assert "Extend" not in notice


def test_programs_make_and_run_courses(signed_in: SignedIn, new_machines: NewMachines, admin: FlaskClient) -> None:
    """All that the pages do; and what others may not."""
    new_machines("light-ral", 4)
    grace = signed_in("grace")
    assert grace.post(ROOT, json=body()).status_code == 403
    made = admin.post(ROOT, json=body(teachers=["grace"]))
    assert made.status_code == 201, made.text
    one = f"{ROOT}/{made.json['course']['id']}"
    token = made.json["link"].rsplit("/", 1)[1]
    bob, eve = signed_in("bob"), signed_in("eve")
    assert bob.get(f"{one}/seat").status_code == 404
    for _ in range(2):
        assert bob.post(f"{ROOT}/join", json={"token": token, "pictures": True}).json["pictures"] is True
    first = bob.post(f"{one}/seat", headers=HEADER).json
    assert bob.post(f"{one}/seat", headers=HEADER).json["id"] == first["id"]
    seats = grace.get(f"{one}/seats").json
    assert [(seat["user"], seat["accepted"], seat["session"]) for seat in seats] == [("bob", True, first["id"])]
    picture = f"{one}/seats/{seats[0]['user_id']}/picture"
    for client in (bob, eve, admin):
        assert client.get(f"{one}/seats").status_code == 404
        assert client.get(picture).status_code == 404
        assert client.post(f"{one}/link", headers=HEADER).status_code == 404
    assert eve.delete(one, headers=HEADER).status_code == 404
    assert eve.get("/join/nonsense").status_code == 404
    assert grace.patch(one, json={"seats": 5}).json["seats"] == 5
    assert grace.get(ROOT).json[0]["accepted"] == 1
    assert eve.post(f"{one}/teachers", json={"name": "eve"}).status_code == 404
    assert grace.post(f"{one}/teachers", json={"name": "bob"}).json["teachers"] == ["bob", "grace"]
    assert bob.get(f"{one}/seats").status_code == 200
    assert grace.delete(f"{one}/teachers/bob", headers=HEADER).json["teachers"] == ["grace"]
    assert bob.get(f"{one}/seats").status_code == 404
    assert grace.delete(f"{one}/teachers/grace", headers=HEADER).json["code"] == "wrong-state"
    assert grace.delete(f"{one}/link", headers=HEADER).json["link_open"] is False
    assert eve.post(f"{ROOT}/join", json={"token": token, "pictures": True}).status_code == 404
    assert grace.delete(one, headers=HEADER).json["when"] == "over"
    assert grace.get(ROOT).json == []


def test_an_invitation_leads_through_the_sign_in(app: Any) -> None:
    """And back to itself."""
    answer = app.test_client().get("/join/some-secret")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/sign-in?next=/join/some-secret")
