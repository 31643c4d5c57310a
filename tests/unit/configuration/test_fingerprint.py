"""Whether a machine is made of what it would be made of today."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from broker.configuration.fingerprint import fingerprint
from broker.configuration.playbook import ANSIBLE

ASKED: dict[str, Any] = {"image": "debian-12", "roles": ["light"], "variables": {"properties": {"a": "b"}}}


@pytest.fixture
def ansible(tmp_path: Path) -> Path:
    """Roles of the test's own."""
    return Path(shutil.copytree(ANSIBLE, tmp_path / "ansible"))


def test_the_same_roles_have_the_same_fingerprint_wherever_they_lie(ansible: Path) -> None:
    assert fingerprint(**ASKED, ansible=ansible) == fingerprint(**ASKED)


@pytest.mark.parametrize(
    "file", ["machine.yml", "roles/base/tasks/main.yml", "roles/light/files/packages.txt", "roles/light/files/new"]
)
def test_a_changed_or_new_file_of_a_role_changes_it(ansible: Path, file: str) -> None:
    before = fingerprint(**ASKED, ansible=ansible)
    with (ansible / file).open("a") as text:
        text.write("# changed")
    assert fingerprint(**ASKED, ansible=ansible) != before


def test_another_environments_roles_do_not_change_it(ansible: Path) -> None:
    before = fingerprint(**ASKED, ansible=ansible)
    (ansible / "roles/science/files/packages.txt").write_text("vim")
    assert fingerprint(**ASKED, ansible=ansible) == before


@pytest.mark.parametrize(
    "other", [{"image": "debian-13"}, {"roles": ["light", "science"]}, {"variables": {"properties": {"a": "c"}}}]
)
def test_another_base_image_role_or_variable_changes_it(other: dict[str, Any]) -> None:
    assert fingerprint(**{**ASKED, **other}) != fingerprint(**ASKED)
