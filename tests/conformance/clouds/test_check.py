"""`beamdesk cloud check`: what an operator is told of a cloud that works, and of one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.clouds.adapter import Cloud
from broker.clouds.check import Finding, check
from broker.settings import CloudSettings, Settings, SizeSettings
from tests.conformance.clouds.subjects import AUTHORITY, Subject


@pytest.fixture(autouse=True)
def _no_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beamdesk.toml").touch()
    monkeypatch.setenv("BEAMDESK_CONFIG", str(tmp_path / "beamdesk.toml"))


def settings_with(subject: Subject, **cloud: Any) -> Settings:
    """Settings of this cloud alone, whose one size is the subject's."""
    place: CloudSettings = subject.settings.model_copy(update=cloud)
    size = SizeSettings(name="small", cores=subject.cores, memory_gb=0.25, ids={place.name: subject.size})
    return Settings(clouds={place.name: place}, sizes={"small": size})


def findings(subject: Subject, settings: Settings, *, build: bool = True) -> dict[str, Finding]:
    """What the check finds, by step."""
    return {finding.step: finding for finding in check(settings, subject.settings.name, AUTHORITY, build=build)}


def test_a_cloud_that_works_is_good_in_every_step_and_nothing_is_left(subject: Subject, cloud: Cloud) -> None:
    found = findings(subject, settings_with(subject))
    assert list(found) == ["sign in", "image", "sizes", "quota", "build", "network", "tags", "remove"]
    assert all(finding.good for finding in found.values()), found
    assert found["remove"].said == "nothing is left"
    assert "beamdesk-deployment=" in found["tags"].said


def test_nothing_is_built_where_that_is_not_wanted_or_where_something_is_wrong(subject: Subject) -> None:
    assert "build" not in findings(subject, settings_with(subject), build=False)
    wrong = findings(subject, settings_with(subject, image="windows-95"))
    assert not wrong["image"].good
    assert wrong["image"].said == "There is no image windows-95."
    assert f"Give clouds.{subject.settings.name}.image one of these: " in wrong["image"].hint
    assert wrong["sizes"].good
    assert "build" not in wrong


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"ids": {}, "name": "huge"}, "There is no size huge."),
        ({"cores": 64}, "and sizes.small says 64, 0.25 and 0."),
    ],
)
def test_a_size_that_is_not_as_the_settings_say_is_named(subject: Subject, size: dict[str, Any], said: str) -> None:
    settings = settings_with(subject)
    [known] = settings.sizes.values()
    wrong = settings.model_copy(update={"sizes": {"small": known.model_copy(update=size)}})
    found = findings(subject, wrong, build=False)
    assert not found["sizes"].good
    assert said in found["sizes"].said


def test_a_cloud_that_lets_nobody_in_is_said_to_at_once(subject: Subject) -> None:
    settings = settings_with(subject, options=subject.strangers.options)
    [only] = findings(subject, settings).values()
    assert (only.step, only.good) == ("sign in", False)
    assert only.said.startswith(subject.settings.title)
