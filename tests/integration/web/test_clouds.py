"""Clouds as administrators see and steer them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import expect

from broker import settings_file
from broker.database import now
from broker.errors import CloudBusy, CloudUnreachable
from broker.pools import standing
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.settings import path
from broker.settings_file import SettingsFile
from tests.integration.web.conftest import NewMachines, OpenAs
from tests.integration.web.test_admin import HEADER, audit
from tests.integration.web.test_metrics import figures, labels
from tests.waiting import until

RAL = "/api/v1/admin/clouds/ral"


def fail(runtime: Runtime, times: int) -> None:
    """The cloud fails so often in a row, each time when its pause is over."""
    for _ in range(times):
        standing.note_fault(runtime, "ral", CloudUnreachable("Harwell did not answer: Connection refused."))
        with runtime.database.transaction() as db:
            standing.row(db, "ral").retry_at = None


def test_a_cloud_that_is_away_is_said_to_be_so_and_asked_again_where_an_administrator_says_so(
    admin: FlaskClient, runtime: Runtime
) -> None:
    """Its faults and its breaker are figures, too."""
    fail(runtime, 3)
    standing.note_fault(runtime, "ral", CloudBusy("Harwell wants fewer.", retry_after=600))
    card = next(card for card in admin.get("/api/v1/admin/clouds").json if card["name"] == "ral")
    assert (card["breaker"], card["faults"], card["fault"]) == ("open", 4, "Harwell wants fewer.")
    found = figures(admin)
    assert found["beamdesk_cloud_breaker", labels(cloud="ral", state="open")] == 1
    assert found["beamdesk_cloud_breaker", labels(cloud="dl", state="closed")] == 1
    assert found["beamdesk_cloud_faults", labels(cloud="ral")] == 4
    assert audit(runtime, "cloud:away") == [
        ("system", "ral", {"fault": "Harwell did not answer: Connection refused.", "faults": 3})
    ]
    assert admin.post(f"{RAL}/resume", headers=HEADER).json["breaker"] == "half-open"


def test_who_asks_a_cloud_now_ends_the_pauses_of_its_machines_too(
    admin: FlaskClient, runtime: Runtime, new_machines: NewMachines
) -> None:
    """They may be long where a cloud lists its machines and builds none."""
    [id_] = new_machines("light-ral", state=MachineState.REQUESTED)
    with runtime.database.transaction() as db:
        machine = db.get_one(Machine, id_)
        machine.tries, machine.due_at = 9, now() + timedelta(seconds=600)
    standing.note_success(runtime, "ral")
    with runtime.database.reading() as db:
        assert db.get_one(Machine, id_).tries == 9, "a list says nothing of builds"
    admin.post(f"{RAL}/resume", headers=HEADER)
    with runtime.database.reading() as db:
        assert db.get_one(Machine, id_).due_at is None


def test_what_fails_at_the_same_time_is_one_fault(runtime: Runtime) -> None:
    """Twenty builds that were under way do not open the breaker; the longest wish counts."""
    for seconds in (60, 600, 60):
        standing.note_fault(runtime, "ral", CloudBusy("Harwell wants fewer.", retry_after=seconds))
    with runtime.database.reading() as db:
        row = standing.rows_by_name(db)["ral"]
        assert row.faults == 1
        assert row.fault_at is not None
        assert row.retry_at is not None
        assert (row.retry_at - row.fault_at).total_seconds() > 590


def test_a_drained_cloud_gives_nothing_out_until_it_is_resumed(
    admin: FlaskClient, alice: FlaskClient, new_machines: NewMachines, runtime: Runtime
) -> None:
    """Its vacant machine is not handed out; another cloud's is."""
    new_machines("light-ral")
    new_machines("light-dl")
    assert admin.post(f"{RAL}/drain", headers=HEADER).json["mode"] == "draining"
    assert "Daresbury" in alice.post("/api/v1/sessions", json={"environment": "light"}).json["reason"]
    assert alice.post("/api/v1/sessions", json={"environment": "science"}).json["code"] == "nothing-fits"
    assert admin.post(f"{RAL}/resume", headers=HEADER).json["mode"] == "serving"
    again = alice.post("/api/v1/sessions", json={"environment": "light", "another": True}).json
    assert "Harwell" in again["reason"]
    assert [actor for actor, *_ in audit(runtime, "cloud:drain") + audit(runtime, "cloud:resume")] == ["ada", "ada"]


def test_a_cloud_that_is_not_there_is_not_found(admin: FlaskClient) -> None:
    answer = admin.post(f"{RAL}9/drain", headers=HEADER)
    assert (answer.status_code, answer.json["code"]) == (404, "not-found")


def test_the_dashboard_shows_how_clouds_stand_and_drains_one(
    open_as: OpenAs, new_machines: NewMachines, runtime: Runtime
) -> None:
    """Live: a fault appears by itself."""
    new_machines("light-ral", 2)
    page = open_as("ada", "/admin/", admin=True)
    cloud = page.locator("#cloud-ral")
    expect(cloud).to_contain_text("In service")
    expect(cloud).to_contain_text("2 vacant")
    fail(runtime, 3)
    expect(cloud).to_contain_text("Away")
    expect(cloud).to_contain_text("3 faults in a row, the first just now. Harwell did not answer: Connection refused.")
    cloud.get_by_role("button", name="Drain").click()
    page.get_by_role("button", name="Drain it").click()
    expect(cloud).to_contain_text("Draining")


def test_settings_that_cannot_be_used_are_on_the_dashboard(
    admin: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service goes on with those of before, and the message names the key."""
    monkeypatch.setattr(settings_file, "LOOK_EVERY", 0)
    runtime.file = SettingsFile(path(), runtime.settings)
    good = path().read_text()
    path().write_text(good.replace("limit = 6", "limit = 1"))
    until(lambda: "pools.light-ral: limit must be at least target (2)" in admin.get("/admin/").text, "the mistake")
    assert admin.get("/api/v1/admin/pools").json[0]["limit"] == 6
    path().write_text(good.replace("limit = 6", "limit = 7"))
    until(lambda: admin.get("/api/v1/admin/pools").json[0]["limit"] == 7, "the new limit")
    assert "limit must be" not in admin.get("/admin/").text
