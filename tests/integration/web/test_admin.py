"""What administrators see and do: each action audited, and for nobody else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from broker.events import Event
from broker.pools.access import settle
from broker.pools.models import Machine, MachineState, Pool, move
from broker.runtime import Runtime
from tests.integration.web.conftest import NewMachines

HEADER = {"X-Requested-With": "test"}
POOL = "/api/v1/admin/pools/light-ral"


def audit(runtime: Runtime, action: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Who did it to what, how."""
    with runtime.database.reading() as db:
        return [(e.actor, e.subject, e.detail) for e in db.scalars(select(Event).where(Event.action == action))]


def test_users_see_and_steer_nothing(alice: FlaskClient) -> None:
    """Each address under /admin, of the API and of the pages."""
    paths = [path for path in alice.get("/api/v1/openapi.json").json["paths"].items() if "/admin/" in path[0]]
    assert len(paths) > 10
    for path, methods in paths:
        address = re.sub(r"\{\w+_id\}", "1", path).replace("{name}", "light-ral")
        for method in set(methods) - {"parameters"}:
            answer = alice.open(address, method=method.upper(), json={"target": 0, "limit": 0})
            assert (answer.status_code, answer.json["code"]) == (403, "forbidden"), path
    for page in ("/admin/", "/admin/panels/pools"):
        assert alice.get(page).status_code == 403
    assert "Dashboard" not in alice.get("/").text


def test_a_pool_is_resized_and_the_audit_says_by_whom_and_from_what(admin: FlaskClient, runtime: Runtime) -> None:
    """The figures replace the settings' own."""
    card = admin.post(f"{POOL}/resize", json={"target": 3, "limit": 9}).json
    assert (card["target"], card["limit"]) == (3, 9)
    assert audit(runtime, "pool:resize") == [
        ("ada", "light-ral", {"target": 3, "limit": 9, "before": {"target": 2, "limit": 6}})
    ]


@pytest.mark.parametrize("body", [{"target": 3, "limit": 2}, {"target": -1, "limit": 2}, {"target": 1}, {}])
def test_a_size_that_cannot_be_changes_nothing(admin: FlaskClient, runtime: Runtime, body: dict[str, int]) -> None:
    """422, and no line in the audit log."""
    assert admin.post(f"{POOL}/resize", json=body).status_code == 422
    assert audit(runtime, "pool:resize") == []


def test_a_drained_pool_gives_nothing_out_until_it_is_resumed(
    admin: FlaskClient, alice: FlaskClient, new_machines: NewMachines, runtime: Runtime
) -> None:
    """Its environment is then not available, and says so before anybody clicks."""
    new_machines("science-ral")
    pool = POOL.replace("light-ral", "science-ral")
    assert admin.post(f"{pool}/drain", headers=HEADER).json["mode"] == "draining"
    card = next(e for e in alice.get("/api/v1/environments").json if e["name"] == "science")
    assert card["availability"]["text"] == "Not available now"
    refused = alice.post("/api/v1/sessions", json={"environment": "science"})
    assert refused.json["code"] == "nothing-fits"
    assert "being drained" in refused.json["detail"]
    assert admin.post(f"{pool}/resume", headers=HEADER).json["mode"] == "serving"
    assert alice.post("/api/v1/sessions", json={"environment": "science"}).json["state"] == "preparing"
    assert [actor for actor, *_ in audit(runtime, "pool:drain") + audit(runtime, "pool:resume")] == ["ada", "ada"]


def test_a_vacant_machine_is_retired_and_one_in_use_is_not(
    admin: FlaskClient, ready_session: int, new_machines: NewMachines, runtime: Runtime
) -> None:
    """Nobody's desktop is pulled away by a click on its machine; retiring twice is retiring once."""
    vacant = new_machines("light-ral")[0]
    for _ in range(2):
        answer = admin.post(f"/api/v1/admin/machines/{vacant}/retire", headers=HEADER)
        assert (answer.status_code, answer.json["state"]) == (200, "deleting")
    with runtime.database.reading() as db:
        used = db.scalars(select(Machine.id).where(Machine.session_id == ready_session)).one()
    refused = admin.post(f"/api/v1/admin/machines/{used}/retire", headers=HEADER)
    assert (refused.status_code, refused.json["code"]) == (409, "wrong-state")
    assert f"session {ready_session}" in refused.json["detail"]


def test_a_failed_machine_is_tried_again_at_once(
    admin: FlaskClient, new_machines: NewMachines, runtime: Runtime
) -> None:
    """It goes, and its pool waits no longer after the failure."""
    machine_id = new_machines("light-ral", 1, MachineState.CONFIGURING)[0]
    with runtime.database.transaction() as db:
        move(db, db.get_one(Machine, machine_id), MachineState.FAILED, reason="no", failure="The disk is full.")
        settle(db, runtime.settings, "light-ral", "The disk is full.")
    pool = next(p for p in admin.get("/api/v1/admin/pools").json if p["name"] == "light-ral")
    assert (pool["failures"], pool["failure"]) == (1, "The disk is full.")
    assert "after 1 failure in a row" in pool["reason"]
    assert admin.post(f"/api/v1/admin/machines/{machine_id}/retry", headers=HEADER).json["state"] == "deleting"
    with runtime.database.reading() as db:
        assert db.get_one(Pool, "light-ral").retry_at is None


def test_a_failed_machines_picture_is_shown(admin: FlaskClient, alice: FlaskClient, runtime: Runtime) -> None:
    """To administrators; where there is none, that is said."""
    folder = runtime.settings.state_dir / "evidence"
    folder.mkdir()
    (folder / "machine-7.png").write_bytes(b"\x89PNG")
    shown = admin.get("/api/v1/admin/machines/7/evidence")
    assert (shown.status_code, shown.mimetype, shown.data) == (200, "image/png", b"\x89PNG")
    assert admin.get("/api/v1/admin/machines/8/evidence").json["code"] == "not-found"
    assert alice.get("/api/v1/admin/machines/7/evidence").status_code == 403


def test_a_pools_history_is_what_happened_to_its_machines(admin: FlaskClient, runtime: Runtime) -> None:
    """Walked back from now along the audit log."""
    with runtime.database.transaction() as db:
        machine = Machine(pool="light-ral", environment="light", size="small", cloud="ral")
        db.add(machine)
        db.flush()
        for state in (MachineState.BUILDING, MachineState.PROVISIONED, MachineState.CONFIGURING, MachineState.VACANT):
            move(db, machine, state, reason="test")
            db.refresh(machine)
    history = admin.get(f"{POOL}/history").json
    assert history["vacant"][-2:] == [1, 1]
    assert history["coming"][-3:] == [1, 0, 0]
    assert history["at"] == sorted(history["at"])


def test_redis_away_is_said_and_everything_else_is_shown(admin: FlaskClient, app: Any, runtime: Runtime) -> None:
    """Redis is a hint: losing it hides the workers, not the dashboard."""
    from redis import Redis

    runtime.__dict__["redis"] = Redis.from_url("unix:///nowhere/redis.sock")
    workers = admin.get("/api/v1/admin/workers").json
    assert "Redis does not answer" in workers["away"]
    page = admin.get("/admin/")
    assert page.status_code == 200
    assert "Redis does not answer" in page.text
    assert admin.get("/healthz").json == {"database": True, "redis": False}


@pytest.mark.parametrize("panel", ["summary", "pools", "queue", "sessions", "machines", "times", "work", "events"])
def test_every_panel_can_be_fetched_alone(admin: FlaskClient, ready_session: int, panel: str) -> None:
    """As the page does it when something changed."""
    answer = admin.get(f"/admin/panels/{panel}", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "<html" not in answer.text
