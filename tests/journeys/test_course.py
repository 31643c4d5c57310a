"""A course on real machines: filled ahead, seats taken, desktops seen by the teacher, and nothing left afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO

import httpx2
from PIL import Image

from tests.demo import Demo
from tests.screens import colours
from tests.waiting import until

SEATS = 3


def course(admin: httpx2.Client) -> tuple[str, str]:
    """A course that runs now: its address in the API, and its link's secret."""
    begin = datetime.now(UTC)
    times = {"starts_at": begin.isoformat(), "ends_at": (begin + timedelta(hours=1)).isoformat()}
    made = admin.post("/courses", json={"title": "Mantid", "environment": "light", "seats": SEATS, **times})
    found = made.raise_for_status().json()
    return f"/courses/{found['course']['id']}", found["link"].rsplit("/", 1)[1]


def picture(admin: httpx2.Client, one: str, user: str) -> Image.Image | None:
    """What the teacher sees of this person's desktop."""
    seat = next((seat for seat in admin.get(f"{one}/seats").json() if seat["user"] == user), None)
    if seat is None or not seat["visible"]:
        return None
    answer = admin.get(f"{one}/seats/{seat['user_id']}/picture")
    return Image.open(BytesIO(answer.content)) if answer.status_code == 200 else None


def test_a_course_on_real_machines(demo: Demo) -> None:
    """All seats are ready beside those for everybody; the teacher sees real desktops of those who agreed alone."""
    with demo.client("admin") as admin, demo.client("alice") as alice, demo.client("bob") as bob:
        one, token = course(admin)
        until(lambda: admin.get(one).json()["ready"] == SEATS, "all seats to be ready", 120)
        for pupil, shares in ((alice, True), (bob, False)):
            pupil.post("/courses/join", json={"token": token, "pictures": shares}).raise_for_status()
            session = pupil.post(f"{one}/seat").raise_for_status().json()["id"]
            state = f"/sessions/{session}"
            until(lambda p=pupil, s=state: p.get(s).json()["state"] == "ready", "the desktop", 60)  # type: ignore[misc]
        until(lambda: picture(admin, one, "alice"), "a picture", 30)
        seen = picture(admin, one, "alice")
        assert seen is not None
        assert seen.size == (384, 216)
        assert colours(seen.convert("RGB")) > 30
        assert picture(admin, one, "bob") is None
        assert admin.get(one).json()["ready"] == SEATS
        admin.delete(one).raise_for_status()
        until(lambda: not alice.get("/sessions").json() and not bob.get("/sessions").json(), "the desktops to go", 60)
        assert [
            event["detail"]["sessions"]
            for event in admin.get("/admin/audit?limit=500").json()
            if event["action"] == "course:over"
        ] == [2]
