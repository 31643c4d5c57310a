"""`beamdesk simulate`: from settings or a recorded day to a report."""

from __future__ import annotations

import json
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli import main
from broker.database import now
from broker.identity.service import create_account
from broker.pools.models import BuildTime
from broker.runtime import Runtime
from broker.sessions.models import SessionState, UserSession
from broker.simulation import recording
from broker.simulation.generate import FACILITIES
from broker.simulation.policies import POLICIES


def simulate(*options: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *options])


class Links(HTMLParser):
    """What a page would fetch, and what it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {key}" for key, _ in attrs if key in ("src", "href")]
        self.found += [tag] if tag in ("script", "link") else []


def test_a_made_up_day_of_the_settings_pools_gives_a_page_that_stands_alone(runtime: Runtime, tmp_path: Path) -> None:
    """Every policy in the table, on the page and in the figures; nothing is fetched by the page."""
    page, figures = tmp_path / "report.html", tmp_path / "report.json"
    done = simulate("--launches", "80", "--faults", "--course", "5", "--report", str(page), "--json", str(figures))
    assert done.exit_code == 0, done.output
    for title in ("Fixed, as set", "Fixed, as advised", "By demand", "By demand, shared warmth"):
        assert title in done.output
        assert title in page.read_text()
    links = Links()
    links.feed(page.read_text())
    assert links.found == []
    assert "light-ral" in page.read_text()
    assert page.read_text().count("<svg") == 4
    found = json.loads(figures.read_text())
    assert [policy["name"] for policy in found["policies"]] == ["fixed", "advised", "demand", "shared"]
    assert all(policy["launches"] > 20 for policy in found["policies"])
    assert found["verdict"] in done.output.replace("\n", " ")


def test_a_recorded_day_is_replayed_and_names_nobody(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the database had, launch for launch; a wish stays, its person does not."""
    monkeypatch.setattr("broker.cli._runtime", lambda: runtime)
    person = create_account(runtime, "bob", "Bob Neutron", "bob-secret")
    with runtime.database.transaction() as db:
        db.add_all(BuildTime(pool="light-ral", seconds=seconds) for seconds in (300, 500))
        for number in range(60):
            began = now() - timedelta(hours=number)
            db.add(
                UserSession(
                    user_id=person.user_id,
                    environment="light",
                    wish={"environment": "light", "location": None, "cores": 1},
                    pool="light-ral",
                    state=SessionState.ENDED,
                    requested_at=began,
                    ready_at=began + timedelta(seconds=2),
                    ended_at=began + timedelta(hours=1, seconds=2),
                )
            )
    day = tmp_path / "day.jsonl"
    assert "60 launches" in simulate("--record", str(day), "--days", "30").output
    assert "bob" not in day.read_text().lower()
    scenario = recording.read(day, runtime.settings)
    counted = [launch for launch in scenario.launches if launch.at >= scenario.measured_from]
    assert len(counted) == 24
    assert len(scenario.launches) + len(scenario.past["light-ral"]) == 60
    assert scenario.launches[0].at < scenario.measured_from - 80_000  # the day before fills the pools
    assert {launch.seconds for launch in counted} == {3600.0}
    assert {launch.wish.cores for launch in counted} == {1}
    assert next(pool.build_seconds for pool in scenario.pools if pool.name == "light-ral") == 400
    assert simulate("--day", str(day), "--policy", "demand").exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ('{"build_seconds": {}}\n', "has no launch"),
        ('{"build_seconds": {}}\n{"at": "yesterday"}\n', "line 2: at:"),
        (
            '{"build_seconds": {}}\n{"at": "2026-11-18T09:00:00Z", "pool": "p", "seconds": 1, "wish": {}}\n',
            "environment",
        ),
    ],
)
def test_a_file_that_is_no_recorded_day_says_where(runtime: Runtime, tmp_path: Path, text: str, said: str) -> None:
    """The line and the key, not a traceback."""
    day = tmp_path / "day.jsonl"
    day.write_text(text)
    done = simulate("--day", str(day))
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_the_command_offers_every_policy_and_facility() -> None:
    """It lists them itself, so that --help imports nothing."""
    offered = {option.name: option.type for option in main.commands["simulate"].params}
    assert list(offered["policies"].choices) == [policy.name for policy in POLICIES]
    assert list(offered["facility"].choices) == list(FACILITIES)


def test_the_wish_for_less_waiting_asks_for_more_machines(runtime: Runtime) -> None:
    """--wait-chance and --build-minutes reach the policies."""
    rows = [
        simulate("--facility", "isis", "--launches", "200", "--policy", "advised", *more).output.splitlines()[2].split()
        for more in (["--wait-chance", "0.2"], ["--wait-chance", "0.001"], ["--build-minutes", "60"])
    ]
    vacant = [float(row[-5]) for row in rows]
    assert vacant[0] < vacant[1] < vacant[2]
