"""`beamdesk cloud check`, where it finds something wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli import main

SETTINGS = """
state_dir = "{folder}"
[clouds.ral]
title = "Harwell"
driver = "beamdesk-local"
location = "ral"
image = "host"
options = {{ {options} }}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAMDESK_CONFIG", str(tmp_path / "beamdesk.toml"))
    return tmp_path


def check(folder: Path, name: str, options: str = 'socket = "/nowhere.sock"') -> Result:
    (folder / "beamdesk.toml").write_text(SETTINGS.format(folder=folder, options=options))
    return CliRunner().invoke(main, ["cloud", "check", name])


def test_a_cloud_that_does_not_answer_is_wrong_and_nothing_else_is_tried(folder: Path) -> None:
    result = check(folder, "ral")
    assert result.exit_code == 1
    assert result.output.startswith("WRONG  sign in  Harwell did not answer while listing machines: no local cloud")
    assert "image" not in result.output


def test_options_that_are_wrong_are_named(folder: Path) -> None:
    result = check(folder, "ral", 'sockets = "x"')
    assert result.exit_code == 1
    assert "clouds.ral.options.socket: Field required" in result.output
    assert "beamdesk-local takes these options: socket." in result.output


def test_a_cloud_that_is_not_in_the_settings_is_named_with_those_that_are(folder: Path) -> None:
    result = check(folder, "stfc")
    assert result.exit_code == 1
    assert "The settings have no cloud stfc." in result.output
    assert "They have these: ral." in result.output
