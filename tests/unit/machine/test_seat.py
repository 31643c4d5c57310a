"""What an environment says about its desktop is read strictly; a seat's files and ports follow from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.machine import seat, x11
from agents.machine.faults import AgentError
from agents.machine.seat import Look, Seat

SCIENCE = {
    "name": "science",
    "command": ["start"],
    "environment": {"A": "b"},
    "painted": [{"window_class": "Panel", "min_colours": 32}],
}


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(seat, "DESKTOP", tmp_path / "desktop.json")
    return tmp_path / "desktop.json"


def test_a_desktop_is_what_the_environment_says(described: Path) -> None:
    described.write_text(json.dumps(SCIENCE))
    assert seat.desktop().command == ("start",)
    assert seat.desktop().painted == (Look("Panel", 32),)


def test_a_machine_without_an_environment_says_so(described: Path) -> None:
    with pytest.raises(AgentError, match="no environment is installed") as caught:
        seat.desktop()
    assert caught.value.code == "not-configured"


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', json.dumps({**SCIENCE, "painted": [{"colour": 1}]})])
def test_a_desktop_that_cannot_be_understood_is_named(described: Path, text: str) -> None:
    described.write_text(text)
    with pytest.raises(AgentError, match="cannot be used"):
        seat.desktop()


def test_the_seats_of_session_and_probe_share_nothing() -> None:
    session = Seat("session", 1, 20001, "alice", "/home/alice", "1600x900", rdp=True)
    probe = Seat("probe", 2, 990, "beamdesk-probe", "/home/beamdesk-probe", "1600x900", rdp=False)
    assert (session.vnc_port, probe.vnc_port) == (5901, 5902)
    assert {session.folder, session.log("x")}.isdisjoint({probe.folder, probe.log("x")})


def test_the_environments_own_variables_reach_its_programs(described: Path) -> None:
    described.write_text(json.dumps(SCIENCE))
    environment = Seat("session", 1, 20001, "alice", "/home/alice", "1600x900", rdp=True).environment()
    assert (environment["A"], environment["DISPLAY"], environment["HOME"]) == ("b", ":1", "/home/alice")


def test_the_cookie_is_found_again_in_the_authority_file(tmp_path: Path) -> None:
    (tmp_path / "xauthority").write_bytes(x11.authority(bytes(range(16))))
    assert x11.cookie_of(tmp_path / "xauthority") == bytes(range(16))
