"""beamdesk.toml changes under a running process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker import settings_file
from broker.settings import Settings, load
from broker.settings_file import SettingsFile
from tests.conftest import SETTINGS

Write = Callable[[str], None]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's settings file."""
    made = tmp_path / "beamdesk.toml"
    made.write_text(SETTINGS)
    monkeypatch.setenv("BEAMDESK_CONFIG", str(made))
    return made


@pytest.fixture
def file(config: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsFile:
    """The file of a process that looks at each use."""
    monkeypatch.setattr(settings_file, "LOOK_EVERY", 0)
    return SettingsFile(config, load(config))


def look(file: SettingsFile) -> Settings:
    """What a process has after two looks."""
    file.look()
    return file.look()


def test_a_cloud_that_is_added_is_there_at_the_next_look(config: Path, file: SettingsFile) -> None:
    before = look(file)
    new = '[clouds.new]\ntitle = "New"\ndriver = "beamdesk-local"\nlocation = "x"\nimage = "host"\n'
    config.write_text(SETTINGS + new)
    after = look(file)
    assert {*after.clouds} == {*before.clouds, "new"}
    assert file.problem is None
    assert look(file) is after  # read once


def test_a_file_that_cannot_be_used_changes_nothing_and_is_named(config: Path, file: SettingsFile) -> None:
    before = look(file)
    config.write_text(SETTINGS.replace('size = "small"', 'size = "smal"'))
    assert look(file) is before
    assert "pools.light-ral.size = 'smal': no such size" in (file.problem or "")
    config.write_text(SETTINGS)
    assert look(file).pools.keys() == before.pools.keys()
    assert file.problem is None


def test_a_file_is_not_read_while_it_is_being_written(config: Path, file: SettingsFile) -> None:
    """An empty file is a good one, without any pool."""
    before = look(file)
    config.write_text("")
    assert file.look() is before
    config.write_text(SETTINGS + "[limits]\nsessions_per_user = 9\n")
    assert file.look() is before
    assert file.look().limits.sessions_per_user == 9


def test_a_file_that_was_written_a_while_ago_counts_at_the_first_look(config: Path, file: SettingsFile) -> None:
    """Who asks seldom, as the web process of a quiet night, does not see the old settings once more."""
    look(file)
    config.write_text(SETTINGS + "[limits]\nsessions_per_user = 9\n")
    os.utime(config, (time.time() - 5, time.time() - 5))
    assert file.look().limits.sessions_per_user == 9


def test_a_file_that_is_away_for_a_moment_changes_nothing(config: Path, file: SettingsFile) -> None:
    """Editors write a new file in place of the old one."""
    before = look(file)
    config.unlink()
    assert look(file) is before
    config.write_text(SETTINGS.replace("Harwell", "Didcot"))
    assert look(file).clouds["ral"].title == "Didcot"


def test_a_cloud_that_is_removed_is_kept_without_pools_until_the_end(config: Path, file: SettingsFile) -> None:
    """Its machines are removed by its old entry."""
    begin = SETTINGS.index("[clouds.dl]")
    end = SETTINGS.index("[sizes.small]")
    pool = SETTINGS.index("[pools.light-dl]")
    config.write_text(SETTINGS[:begin] + SETTINGS[end:pool] + SETTINGS[SETTINGS.index("[pools.science-ral]") :])
    after = look(file)
    assert after.leaving == {"dl"}
    assert after.clouds["dl"].title == "Daresbury"
    assert "light-dl" not in after.pools
    config.write_text(SETTINGS)
    assert look(file).leaving == frozenset()


def test_what_a_process_is_built_on_waits_for_its_next_start(config: Path, file: SettingsFile) -> None:
    config.write_text(SETTINGS.replace('deployment = "test"', 'deployment = "other"\n[limits]\nsessions_per_user = 9'))
    after = look(file)
    assert after.deployment == "test"
    assert after.limits.sessions_per_user == 9
    assert "deployment take effect when Beamdesk is started again" in (file.problem or "")
