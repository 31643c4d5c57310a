"""Which control groups a host has, and what is written into them; on trees laid out as the kernel's are."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.localcloud import cgroups


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    return tmp_path


def lay_v1(root: Path, *controllers: str) -> None:
    for name in controllers:
        (root / name).mkdir()
        (root / name / "cgroup.procs").touch()


def lay_v2(root: Path, handed_down: str) -> None:
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    for group in (root, root / "family"):
        group.mkdir(exist_ok=True)
        (group / "cgroup.subtree_control").write_text(handed_down)


def test_a_host_with_all_controllers_of_version_1(root: Path) -> None:
    lay_v1(root, "cpu", "memory", "pids")
    assert cgroups.version() == "v1"
    made = cgroups.limit("family", "node", 2, 512)
    assert made == [root / name / "family/node" for name in ("cpu", "memory", "pids")]
    cpu, memory, pids = made
    assert [(cpu / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")] == ["200000", "100000"]
    assert (memory / "memory.limit_in_bytes").read_text() == str(512 << 20)
    assert (pids / "pids.max").read_text() == "4096"


def test_a_host_with_version_2(root: Path) -> None:
    lay_v2(root, "cpu io memory pids\n")
    assert cgroups.version() == "v2"
    assert cgroups.limit("family", "node", 2, 512) == [root / "family/node"]
    written = {path.name: path.read_text() for path in (root / "family/node").iterdir()}
    assert written == {"cpu.max": "200000 100000", "memory.max": str(512 << 20), "pids.max": "4096"}


def test_version_2_that_hands_no_limits_down_is_none(root: Path) -> None:
    lay_v2(root, "cpu\n")
    (root / "cgroup.subtree_control").unlink()
    (root / "cgroup.subtree_control").symlink_to("/proc/version")  # it can be read, and what is written is refused
    assert cgroups.version() == "none"


@pytest.mark.parametrize("controllers", [(), ("cpu", "pids")])
def test_a_host_without_what_is_needed_has_none(root: Path, controllers: tuple[str, ...]) -> None:
    lay_v1(root, *controllers)
    assert cgroups.version() == "none"
    assert cgroups.limit("family", "node", 2, 512) == []
    cgroups.remove("family", "node")
    cgroups.remove("family")


def test_a_family_of_groups_goes_only_when_it_is_empty(root: Path) -> None:
    lay_v1(root, "cpu", "memory", "pids")
    for name in ("one", "two"):
        for group in cgroups.groups("family", name):
            group.mkdir(parents=True)
    cgroups.remove("family", "one")
    cgroups.remove("family")
    assert [path.name for path in (root / "cpu/family").iterdir()] == ["two"]
    cgroups.remove("family", "two")
    cgroups.remove("family")
    assert not (root / "cpu/family").exists()
    assert (root / "cpu").exists()
