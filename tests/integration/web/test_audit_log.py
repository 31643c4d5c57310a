"""The audit log for administrators: searching, exporting, and whether it is good."""

from __future__ import annotations

import json
import re

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import expect

from broker import events
from broker.audit import sealing
from broker.runtime import Runtime
from tests.integration.audit.rows import seal_all, tamper, write
from tests.integration.web.conftest import OpenAs
from web.api import audit as audit_api

AUDIT = "/api/v1/admin/audit"
HEADER = {"X-Requested-With": "test"}


@pytest.fixture
def log(runtime: Runtime, admin: FlaskClient) -> FlaskClient:
    """An administrator, and a log with something in it."""
    with runtime.database.transaction() as db:
        with events.coming(events.Origin("10.1.2.3", "browser sign-in 9")):
            events.record(db, "session:requested", 7, actor="alice", wish={"environment": "light"})
            events.record(db, "session:extend", 7, actor="alice", hours=4)
        with events.coming(events.Origin("10.12.0.1", "token 3")):
            events.record(db, "session:requested", 8, actor="bob")
        events.record(db, "machine:vacant", 7, before="configuring")
    seal_all(runtime.database)
    return admin


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("actor=alice", 2),
        ("actor=system", 2),
        ("action=session", 3),
        ("action=session:requested", 2),
        ("subject=7", 3),
        ("action=session&subject=7", 2),
        ("client=10.1.2.3", 2),
        ("client=10.1.", 2),
        ("client=10.1", 0),
        ("client=%25", 0),
        ("since=2200-01-01T00:00:00Z", -1),
        ("since=2199-01-01T00:00:00Z", 0),
        ("until=2026-01-01T00:00:00%2B01:00", 0),
        ("until=2026-01-01T00:00:00", -1),
        ("since=1767225600", -1),
        ("limit=0", -1),
        ("nonsense=1", -1),
        ("actor=", -1),
    ],
)
def test_the_log_is_searched(log: FlaskClient, query: str, number: int) -> None:
    """By each filter, and by several; -1 is a query with a mistake."""
    answer = log.get(f"{AUDIT}?{query}")
    if number < 0:
        assert (answer.status_code, answer.json["code"]) == (422, "invalid-request")
    else:
        assert (answer.status_code, len(answer.json)) == (200, number)


def test_a_row_says_who_from_where_by_what_when_and_its_seal(log: FlaskClient) -> None:
    """All of it, the newest row first; pages follow each other without a gap."""
    first = log.get(f"{AUDIT}?actor=alice").json[1]
    assert re.fullmatch(r"[0-9a-f]{64}", first.pop("hash"))
    assert first.pop("at") > "2026"
    assert first == {
        **{"id": 3, "seal": 3, "actor": "alice", "client": "10.1.2.3", "via": "browser sign-in 9"},
        **{"action": "session:requested", "kind": "session", "subject": "7"},
        "detail": {"wish": {"environment": "light"}},
    }
    everything = [line["id"] for line in log.get(AUDIT).json]
    assert everything == sorted(everything, reverse=True)
    pages, before = [], ""
    while page := log.get(f"{AUDIT}?limit=2{before}").json:
        pages += [line["id"] for line in page]
        before = f"&before={page[-1]['id']}"
    assert pages == everything


def test_an_export_is_streamed_to_its_end_and_stands_in_the_log(log: FlaskClient, runtime: Runtime) -> None:
    """More than one batch, the oldest row first, with the filters that were asked for."""
    write(runtime.database, 2500)
    answer = log.get(f"{AUDIT}/export?actor=ada&action=pool")
    assert (answer.status_code, answer.mimetype) == (200, "application/jsonl")
    assert "beamdesk-audit.jsonl" in answer.headers["Content-Disposition"]
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["subject"] for line in lines] == [f"p{n}" for n in range(2500)]
    note = log.get(f"{AUDIT}?action=audit:export").json[0]
    assert (note["actor"], note["detail"]) == ("ada", {"wanted": {"actor": "ada", "action": "pool"}})
    assert log.get(f"{AUDIT}/export?client=192.0.2.200").data == b""


def test_an_administrator_has_the_chain_looked_through(log: FlaskClient, runtime: Runtime) -> None:
    """Good, then not good; who looked and what was found is kept."""
    assert log.get(f"{AUDIT}/chain").json["verified"] is None
    report = log.post(f"{AUDIT}/verify", headers=HEADER).json
    assert (report["good"], report["findings"], report["head"]["seq"]) == (True, [], 6)
    standing = log.get(f"{AUDIT}/chain").json
    assert (standing["head"], standing["rows"], standing["waiting"]) == (report["head"], 6, 1)
    assert (standing["verified"]["actor"], standing["verified"]["detail"]["good"]) == ("ada", True)
    tamper(runtime.database, "UPDATE events SET actor = 'eve' WHERE id = 3")
    report = log.post(f"{AUDIT}/verify", headers=HEADER).json
    assert (report["good"], report["findings"][0]["what"]) == (False, "changed")
    assert "row 3" in log.get(f"{AUDIT}/chain").json["verified"]["detail"]["first"]


def test_a_log_that_is_too_long_is_left_to_the_command(log: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """409 that says which; the page names it in the button's place."""
    monkeypatch.setattr(audit_api, "QUICK", 3)
    monkeypatch.setattr("web.admin.audit.QUICK", 3)
    refused = log.post(f"{AUDIT}/verify", headers=HEADER)
    assert (refused.status_code, refused.json["code"]) == (409, "wrong-state")
    assert "beamdesk audit verify" in refused.json["hint"]
    page = log.get("/admin/audit").text
    assert "Verify now" not in page
    assert "<code>beamdesk audit verify</code>" in page


def test_the_page_is_for_administrators(alice: FlaskClient) -> None:
    """It and its fragment; the API's addresses are tried with all others of administrators."""
    for path in ("/admin/audit", "/admin/audit/chain"):
        assert alice.get(path).status_code == 403


@pytest.mark.parametrize("query", ["since=nonsense", "before=0", "actor=" + "x" * 65, "nonsense=1"])
def test_filters_with_mistakes_are_said_on_the_page(log: FlaskClient, query: str) -> None:
    """Not a server's error."""
    answer = log.get(f"/admin/audit?{query}")
    assert answer.status_code == 422
    assert "These filters have mistakes." in answer.text


def test_what_stands_in_the_log_is_shown_as_it_is(log: FlaskClient, runtime: Runtime) -> None:
    """Names that somebody tried to sign in with are no HTML."""
    with runtime.database.transaction() as db:
        events.record(db, "account:sign-in-failed", "<script>alert(1)</script>", actor=events.NOBODY, why="<b>")
    page = log.get("/admin/audit").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_log_is_searched_by_keyboard_with_local_times(open_as: OpenAs, runtime: Runtime) -> None:
    """Fill in, Enter, page on; the address holds the search, so it can be passed on; nothing found is said."""
    for n in range(60):
        with runtime.database.transaction() as db, events.coming(events.Origin("10.1.2.3", "browser sign-in 9")):
            events.record(db, "session:extend", n, actor="alice", hours=4)
    page = open_as("ada", "/admin/audit", admin=True, timezone_id="Asia/Tokyo", locale="en-GB")
    page.get_by_label("Who").focus()
    page.keyboard.type("alice")
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/audit?actor=alice")
    lines = page.locator("table.audit tbody tr")
    expect(lines).to_have_count(50)
    expect(lines.first).to_contain_text("session extend")
    expect(lines.first.locator("time")).to_have_text(re.compile(r"\d{2}:\d{2}:\d{2} (GMT\+9|JST)"))
    page.get_by_role("link", name="Older").focus()
    page.keyboard.press("Enter")
    expect(lines).to_have_count(10)
    page.get_by_role("link", name="Newest").click()
    expect(lines).to_have_count(50)
    page.get_by_label("Since").fill("2099-01-01T09:00")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No row fits.")).to_be_visible()
    assert "since=2099-01-01T00%3A00%3A00.000Z" in page.url
    assert page.get_by_label("Since").input_value() == "2099-01-01T09:00"
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_text("No row fits.")).to_be_hidden()


def test_a_row_leads_to_its_session_and_an_export_can_be_saved(
    open_as: OpenAs, ready_session: int, runtime: Runtime
) -> None:
    """All of the session's rows, and its place on the dashboard while it lives."""
    page = open_as("ada", "/admin/audit", admin=True)
    page.get_by_role("link", name=f"All of session {ready_session}").first.click()
    lines = page.locator("table.audit tbody tr")
    expect(lines.filter(has_text="session requested")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export these").click()
    saved = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert {line["subject"] for line in saved} == {str(ready_session)}
    page.get_by_role("link", name=f"Session {ready_session} on the dashboard").first.click()
    page.wait_for_url(f"**/admin/#row-session-{ready_session}")
    expect(page.locator(f"#row-session-{ready_session}")).to_be_visible()


def test_the_chain_is_verified_by_a_button(open_as: OpenAs, runtime: Runtime) -> None:
    """From never to good, to not good with the row's name; at a phone's width nothing is cut off."""
    write(runtime.database, 3)
    seal_all(runtime.database)
    page = open_as("ada", "/admin/audit", admin=True, width=390)
    chain = page.get_by_role("region", name="The chain")
    expect(chain).to_contain_text("Never verified")
    page.get_by_role("button", name="Verify now").focus()
    page.keyboard.press("Enter")
    expect(chain).to_contain_text("Verified")
    expect(chain.locator(".pill")).to_have_text("Good")
    with runtime.database.reading() as db:
        expect(chain).to_contain_text(str(sealing.head(db)))
    tamper(runtime.database, "UPDATE events SET actor = 'eve' WHERE id = 2")
    page.get_by_role("button", name="Verify now").click()
    expect(chain.locator(".pill")).to_have_text("NOT good")
    expect(chain.get_by_role("alert")).to_contain_text("row 2")
    shown = "[...document.querySelectorAll('main form *, main section *, tbody *')]"
    edges = f"{shown}.map((each) => [each.getBoundingClientRect().right, each.outerHTML])"
    cut = [html[:80] for right, html in page.evaluate(edges) if right > 390]
    assert cut == [], "these reach beyond the phone's edge"
