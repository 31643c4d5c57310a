"""`beamdesk simulate`: from settings or a recorded day to a report."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli import main
from broker.database import now
from broker.identity.service import create_account
from broker.pools.models import BuildTime, Reservation
from broker.runtime import Runtime
from broker.sessions.models import SessionState, UserSession
from broker.simulation import command, recording
from broker.simulation.generate import FACILITIES
from broker.simulation.policies import FIXED, POLICIES

SHARED_POOL = """
[pools.shared-ral]
environment = "shared"
size = "small"
cloud = "ral"
target = 2
limit = 6
"""


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
    assert "e-1" not in page.read_text(), "a tick of an axis where nobody waits"
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
        ("\udcff", "is no text"),
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
    day.write_text(text, errors="surrogateescape")
    done = simulate("--day", str(day))
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_the_command_offers_every_policy_and_facility() -> None:
    """It lists them itself, so that --help imports nothing."""
    offered = {option.name: option.type for option in main.commands["simulate"].params}
    assert list(offered["policies"].choices) == [policy.name for policy in POLICIES]
    assert list(offered["facility"].choices) == list(FACILITIES)


def recorded(tmp_path: Path, *wishes: dict[str, object]) -> Path:
    """A recorded day with one launch of each wish a minute."""
    day, at = tmp_path / "day.jsonl", now() - timedelta(hours=2)
    lines = [{"build_seconds": {}}] + [
        {"at": (at + timedelta(minutes=number)).isoformat(), "pool": "light-dl", "seconds": 60, "wish": wish}
        for number, wish in enumerate(wishes)
    ]
    day.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return day


def amend(old: str, new: str) -> None:
    """Change the settings' file."""
    config = Path(os.environ["BEAMDESK_CONFIG"])
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))


def test_what_was_wished_for_is_met_as_the_service_meets_it(runtime: Runtime, tmp_path: Path) -> None:
    """A model of GPU, an architecture, a group; and pools are weighed as the settings say."""
    amend("[pools.light-dl]", '[pools.light-dl]\ngroups = ["few"]')
    amend("deployment =", "allocation = { size = 0, vacancies = 9 }\ndeployment =")
    wish = {"environment": "light", "gpu_model": "Test GPU", "architecture": "x86_64", "groups": ["few"]}
    found = command.scenario(command.Asked(day=recorded(tmp_path, wish)))
    assert (found.weights.size, found.weights.vacancies) == (0, 9)
    figures = command.run(found, [FIXED], 1, lambda *_: None)[0]
    assert (figures.refused, next(pool.launches for pool in figures.pools if pool.name == "light-dl")) == (0, 1)


def test_a_launch_that_no_pool_could_serve_is_said_and_counts_for_nothing(runtime: Runtime, tmp_path: Path) -> None:
    """On the terminal, on the page and in the figures; where it is the only one, there is nothing to compare."""
    page, figures, wish = tmp_path / "report.html", tmp_path / "report.json", {"environment": "light", "cores": 99}
    done = simulate("--day", str(recorded(tmp_path, wish)), "--report", str(page), "--json", str(figures))
    assert done.exit_code == 0, done.output
    said = "No pool could ever serve 1 launches, and they are not counted: 1 of light: light-ral in Harwell has 1 core"
    assert said in done.output
    assert said in page.read_text()
    assert "there is nothing to compare" in done.output
    found = json.loads(figures.read_text())["policies"][0]
    assert (found["refused"], found["launches"], sum(found["refusals"].values())) == (1, 0, 1)


def test_the_cheapest_policy_is_advised_where_pools_have_a_cost(runtime: Runtime, tmp_path: Path) -> None:
    """And what each costs is in the table, on the page and in the figures."""
    page, figures = tmp_path / "report.html", tmp_path / "report.json"
    assert "cost" not in simulate("--launches", "30").output
    amend("limit = 6", "limit = 6\ncost = 0.5")
    done = simulate("--launches", "30", "--report", str(page), "--json", str(figures), "--wait-chance", "0.9")
    assert "costs less: " in done.output
    assert ">Cost</th>" in page.read_text()
    policies = json.loads(figures.read_text())["policies"]
    assert len({round(policy["cost"]) for policy in policies}) > 1
    assert min(policies, key=lambda policy: policy["cost"])["title"] in done.output.splitlines()[-3]


def test_pools_of_a_base_are_not_launched(runtime: Runtime) -> None:
    """Nobody can ask for them."""
    amend("[environments.light]", '[bases.shared]\ntitle = "Shared"\nroles = []\n[environments.light]')
    amend("[pools.science-ral]", SHARED_POOL + "[pools.science-ral]")
    found = command.scenario(command.Asked())
    assert {pool.name for pool in found.pools} == {"light-ral", "light-dl", "science-ral"}
    assert {launch.wish.environment for launch in found.launches} <= {"light", "science"}


def test_who_has_a_seat_is_not_recorded(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reservations are filled besides."""
    monkeypatch.setattr("broker.cli._runtime", lambda: runtime)
    person, moment = create_account(runtime, "bob", "Bob Neutron", "bob-secret"), now()
    with runtime.database.transaction() as db:
        kept = {"title": "Course", "environment": "light", "group": "", "seats": 1, "pools": {}, "made_by": "ada"}
        db.add(Reservation(id=1, starts_at=moment, ends_at=moment, **kept))
        db.flush()
        for reservation in (None, 1):
            db.add(
                UserSession(
                    user_id=person.user_id,
                    environment="light",
                    wish={"environment": "light"},
                    pool="light-ral",
                    state=SessionState.ENDED,
                    reservation_id=reservation,
                )
            )
    assert "1 launches" in simulate("--record", str(tmp_path / "day.jsonl")).output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--day", "beamdesk.toml", "--facility", "isis"], "it goes with neither --facility nor --launches"),
        (["--report", "nowhere/report.html"], "there is no folder nowhere"),
        (["--json", "nowhere/report.json"], "there is no folder nowhere"),
        (["--wait-chance", "0"], "is not in the range"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    """Not after minutes of simulation."""
    monkeypatch.chdir(tmp_path)
    done = simulate(*options)
    assert done.exit_code == 2
    assert said in done.output


def test_settings_without_pools_say_what_to_do(runtime: Runtime) -> None:
    """A file that was just begun."""
    Path(os.environ["BEAMDESK_CONFIG"]).write_text("")
    done = simulate("--faults", "--course", "5")
    assert done.exit_code == 1
    assert "The settings have no pools.\nA made-up service has some: --facility isis." in done.output


def test_the_wish_for_less_waiting_asks_for_more_machines(runtime: Runtime) -> None:
    """--wait-chance and --build-minutes reach the policies."""
    rows = [
        simulate("--facility", "isis", "--launches", "200", "--policy", "advised", *more).output.splitlines()[2].split()
        for more in (["--wait-chance", "0.2"], ["--wait-chance", "0.001"], ["--build-minutes", "60"])
    ]
    vacant = [float(row[-5]) for row in rows]
    assert vacant[0] < vacant[1] < vacant[2]
