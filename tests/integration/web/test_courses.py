"""A course in the real browser: the teacher's view, the invitation, the seat; at a laptop's and a phone's width."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select

from broker.courses import pictures
from broker.database import now
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.sessions.models import UserSession
from tests.integration.web.conftest import NewMachines, OpenAs, SignedIn
from tests.integration.web.test_admin import HEADER
from tests.unit.machine.test_measure import vnc_display

ROOT = "/api/v1/courses"
PICTURES = Path("build/pictures")


def body(**more: object) -> dict[str, Any]:
    begin = now()
    times = {"starts_at": begin.isoformat(), "ends_at": (begin + timedelta(hours=2)).isoformat()}
    return {"title": "Mantid for beginners", "environment": "light", "seats": 4, **times, **more}


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> Iterator[None]:
    """A real Xvnc, coloured, where machines have theirs."""
    with vnc_display(tmp_path) as (number, _, port):
        access = {"XAUTHORITY": str(tmp_path / "xauthority"), "DISPLAY": f":{number}", "PATH": "/usr/bin:/bin"}
        subprocess.run(["xsetroot", "-solid", "#2266aa"], env=access, check=True)
        monkeypatch.setattr(pictures, "DESKTOP_PORT", port)
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


def test_a_teacher_and_a_pupil_meet(
    open_as: OpenAs,
    runtime: Runtime,
    new_machines: NewMachines,
    screen: None,
    on_screen: Callable[[int], None],
) -> None:
    """Made, invited, read, accepted, seated, seen; and hidden again when the pupil says so."""
    new_machines("light-ral", 4)
    teacher = open_as("ada", "/courses", admin=True)
    expect(teacher.locator("#courses")).to_contain_text("There is no course.")
    teacher.get_by_role("button", name="New course").click()
    teacher.get_by_label("Title").fill("Mantid for beginners")
    teacher.locator("#confirm [name=seats]").fill("4")
    teacher.evaluate("""() => {
        const at = new Date(Date.now() - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 16);
        document.querySelector("[name=starts_at]").value = at;
    }""")
    teacher.screenshot(path=PICTURES / "course-new.png")
    teacher.get_by_role("button", name="Make it").click()
    expect(teacher.locator("[data-link]")).to_contain_text("/join/")
    link = teacher.locator("[data-link]").inner_text()
    teacher.get_by_role("button", name="Done").click()
    teacher.get_by_role("link", name="Open").click()
    expect(teacher.locator("#course")).to_contain_text("4 of 4 seats ready, 0 arrived")
    path = "/join/" + link.rsplit("/", 1)[1]
    pupil = open_as("bob", path, width=390)
    expect(pupil.locator("main")).to_contain_text("What your teacher sees")
    pupil.screenshot(path=PICTURES / "course-join-phone.png", full_page=True)
    assert pupil.evaluate("document.documentElement.scrollWidth") <= 390
    expect(teacher.locator(".seat")).to_contain_text("Reads the notice")
    pupil.get_by_role("button", name="I agree, take my seat").click()
    pupil.wait_for_url("**/seat")
    pupil.screenshot(path=PICTURES / "course-seat-phone.png", full_page=True)
    pupil.get_by_role("button", name="Open my desktop").click()
    expect(pupil.locator("#launch")).to_be_visible()
    with runtime.database.reading() as db:
        session = db.scalars(select(UserSession.id)).one()
    on_screen(session)
    image = 'img[alt="The desktop of Bob"]'
    expect(teacher.locator(image)).to_be_visible()
    teacher.wait_for_function("image => document.querySelector(image).naturalWidth > 0", arg=image)
    assert loaded(teacher, image)
    third = open_as("carol", path)
    third.screenshot(path=PICTURES / "course-join.png")
    third.get_by_role("button", name="without pictures").click()
    third.wait_for_url("**/seat")
    expect(teacher.locator(".seats")).to_contain_text("Takes part without pictures")
    teacher.screenshot(path=PICTURES / "course.png")
    teacher.set_viewport_size({"width": 390, "height": 844})
    teacher.screenshot(path=PICTURES / "course-phone.png", full_page=True)
    assert teacher.evaluate("document.documentElement.scrollWidth") <= 390
    pupil.goto(pupil.url.split("/courses")[0].split("/desktop")[0] + f"/desktop/{session}")
    expect(pupil.locator("[data-do=extend]")).to_have_count(0)
    expect(pupil.locator("#watched")).to_have_attribute(
        "title", "In Mantid for beginners your teacher sees a small picture of this desktop, until the course ends"
    )
    pupil.screenshot(path=PICTURES / "course-desktop-phone.png")
    pupil.goto(pupil.url.split("/desktop")[0] + "/")
    expect(pupil.locator("#sessions")).to_contain_text("Your teacher sees a small picture")
    pupil.screenshot(path=PICTURES / "course-portal-phone.png")
    pupil.get_by_role("link", name="To my seat").click()
    pupil.get_by_role("button", name="Stop sharing").click()
    expect(pupil.locator("#seat")).to_contain_text("Your teacher sees no picture of your desktop.")
    expect(teacher.locator(image)).to_have_count(0)
    teacher.get_by_role("button", name="End the course").click()
    teacher.get_by_role("button", name="End it").click()
    expect(teacher.locator("#course")).to_contain_text("This course is over.")


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
    assert grace.delete(f"{one}/link", headers=HEADER).json["link_open"] is False
    assert eve.post(f"{ROOT}/join", json={"token": token, "pictures": True}).status_code == 404
    assert grace.delete(one, headers=HEADER).json["when"] == "over"
    assert grace.get(ROOT).json == []


def test_an_invitation_leads_through_the_sign_in(app: Any) -> None:
    """And back to itself."""
    answer = app.test_client().get("/join/some-secret")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/sign-in?next=/join/some-secret")
