"""Reservations as administrators see and make them, by API and on the dashboard."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from playwright.sync_api import expect

from broker.database import now
from tests.integration.web.conftest import NewMachines, OpenAs, SignedIn
from tests.integration.web.test_admin import HEADER
from tests.integration.web.test_metrics import figures, labels

ROOT = "/api/v1/admin/reservations"


def body(seats: int = 3, **more: object) -> dict[str, Any]:
    begin = now()
    times = {"starts_at": begin.isoformat(), "ends_at": (begin + timedelta(hours=2)).isoformat()}
    return {"title": "Mantid course", "environment": "light", "group": "course", "seats": seats, **times, **more}


def test_an_api_client_reserves_changes_and_cancels(
    admin: FlaskClient, signed_in: SignedIn, new_machines: NewMachines
) -> None:
    """And its group's launch takes a seat, which is a figure, too."""
    new_machines("light-ral", 2)
    sent = body()
    made = admin.post(ROOT, json=sent)
    assert made.status_code == 201, made.text
    assert admin.post(ROOT, json=sent).json["id"] == made.json["id"]
    elsewhere = datetime.fromisoformat(sent["starts_at"]).astimezone(timezone(timedelta(hours=5)))
    again = admin.post(ROOT, json={**sent, "starts_at": elsewhere.isoformat()}).json
    assert (again["id"], again["starts_at"]) == (made.json["id"], made.json["starts_at"])
    assert (made.json["phase"], made.json["ready"], made.json["pools"]) == ("open", 2, {"light-ral": 3})
    one = f"{ROOT}/{made.json['id']}"
    pupil, outsider = signed_in("pupil", groups=("course",)), signed_in("bob")
    assert outsider.post("/api/v1/sessions", json={"environment": "light"}).json["state"] == "queued"
    assert pupil.post("/api/v1/sessions", json={"environment": "light"}).json["state"] == "preparing"
    assert admin.get(one).json["taken"] == 1
    found = figures(admin)
    wanted = labels(reservation=str(made.json["id"]), environment="light", of="taken")
    assert found["beamdesk_reservation_seats", wanted] == 1
    assert admin.patch(one, json={"seats": 5}).json["seats"] == 5
    refused = admin.patch(one, json={"seats": 50})
    assert (refused.status_code, refused.json["code"]) == (409, "no-room-to-reserve")
    assert refused.json["possible"] == 6, "in the same place"
    assert admin.delete(one, headers=HEADER).json["phase"] == "cancelled"
    assert admin.get(ROOT).json == []


def test_a_course_is_not_changed_or_cancelled_behind_its_teachers_back(admin: FlaskClient) -> None:
    """Its desktops would end, and people lose their seats, though the dashboard says that running ones go on."""
    course = admin.post("/api/v1/courses", json={k: v for k, v in body().items() if k != "group"}).json["course"]
    (one,) = admin.get(ROOT).json
    assert (one["group"], one["title"]) == ("", course["title"])
    for refused in (
        admin.patch(f"{ROOT}/{one['id']}", json={"seats": 1}),
        admin.delete(f"{ROOT}/{one['id']}", headers=HEADER),
    ):
        assert (refused.status_code, refused.json["code"]) == (409, "wrong-state")
    assert admin.get(f"/api/v1/courses/{course['id']}").json["when"] == "open"
    assert "change-reservation" not in admin.get("/admin/panels/reservations").text


def test_a_year_that_no_calendar_has_is_a_mistake_of_the_request(admin: FlaskClient) -> None:
    """Not a fault of ours."""
    for moment in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"):
        assert admin.post(ROOT, json=body(starts_at=moment, ends_at=moment)).status_code == 422


def test_nobody_else_may_look_or_reserve(alice: FlaskClient) -> None:
    """Whose courses there are is not for everybody."""
    assert alice.get(ROOT).status_code == 403
    assert alice.post(ROOT, json=body()).status_code == 403


def test_an_administrator_reserves_on_the_dashboard(open_as: OpenAs, new_machines: NewMachines) -> None:
    """Make, see how far it is, change, cancel; by keyboard and on a phone, too."""
    new_machines("light-ral", 2)
    page = open_as("ada", "/admin/", admin=True)
    panel = page.locator("#panel-reservations")
    expect(panel).to_contain_text("Nothing is reserved.")
    panel.get_by_role("button", name="Reserve machines").click()
    page.get_by_label("What for").fill("Mantid course")
    page.get_by_label("Group").fill("course")
    page.get_by_label("Seats").fill("99")
    page.evaluate("""() => {
        const at = (hours) => new Date(Date.now() + hours * 3600000 - new Date().getTimezoneOffset() * 60000);
        const fill = (name, hours) => {
            document.querySelector(`[name=${name}]`).value = at(hours).toISOString().slice(0, 16);
        };
        fill("starts_at", 0); fill("ends_at", 3);
    }""")
    page.screenshot(path=Path("build/pictures/reserve.png"))
    page.get_by_role("button", name="Reserve", exact=True).click()
    expect(page.locator("#confirm [role=alert]")).to_contain_text("99 machines cannot be reserved then: 9 could be")
    expect(page.get_by_label("What for")).to_have_value("Mantid course")
    page.get_by_label("Seats").fill("4")
    page.get_by_label("Seats").press("Enter")
    expect(panel).to_contain_text("2 of 4 seats ready")
    assert panel.locator(".sheet").evaluate("sheet => sheet.scrollWidth <= sheet.clientWidth")
    expect(page.locator("#pool-light-ral")).to_contain_text("4 more for Mantid course")
    panel.get_by_role("button", name="Change").click()
    page.locator("#confirm [name=seats]").fill("5")
    page.locator("#confirm [data-yes]").click()
    expect(panel).to_contain_text("2 of 5 seats ready")
    panel.screenshot(path=Path("build/pictures/reservations.png"))
    page.set_viewport_size({"width": 390, "height": 844})
    panel.screenshot(path=Path("build/pictures/reservations-phone.png"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    panel.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel it").click()
    expect(panel).to_contain_text("Nothing is reserved.")
