"""The roles in ansible/ keep to the form that machine.yml counts on."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from agents.machine.seat import Look

ROOT = Path(__file__).parents[3]
ROLES = sorted((ROOT / "ansible/roles").iterdir())
ENVIRONMENTS = [role for role in ROLES if (role / "files/root/etc/beamdesk/desktop.json").exists()]


def names(path: Path) -> set[str]:
    """The packages that a list names; a # begins a comment."""
    return {line.split("#")[0].strip() for line in path.read_text().splitlines()} - {""}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_host_of_the_local_cloud_has_every_package_of_its_machines(role: Path) -> None:
    meant_by = {"fonts-dejavu-core": "fonts-dejavu", "python3-minimal": "python3-venv"}  # what brings them
    wanted = {meant_by.get(name, name) for name in names(role / "files/packages.txt")}
    assert wanted <= names(ROOT / "packages.txt")


@pytest.mark.parametrize("role", ENVIRONMENTS, ids=lambda role: role.name)
def test_an_environment_says_how_its_desktop_starts_and_how_to_see_it(role: Path) -> None:
    desktop = json.loads((role / "files/root/etc/beamdesk/desktop.json").read_text())
    assert set(desktop) == {"name", "command", "environment", "painted"}
    assert desktop["name"] == role.name
    assert (role / "files/programs" / desktop["command"][0].lstrip("/")).is_file()
    assert [Look(**look) for look in desktop["painted"]]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_programs_lie_apart_from_other_files(role: Path) -> None:
    for path in (role / "files").rglob("*"):
        tree = path.relative_to(role / "files").parts[0]
        if path.is_file() and tree in {"root", "programs"}:
            assert (path.read_bytes()[:2] == b"#!") is (tree == "programs"), path


def test_xfces_settings_can_be_read() -> None:
    files = list((ROOT / "ansible/roles/science/files/root").rglob("*.xml"))
    assert files
    for file in files:
        assert ElementTree.parse(file).getroot().attrib["name"] == file.stem  # noqa: S314 - our own files
