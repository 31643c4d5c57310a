"""A node's size by control groups, version 1 or 2, whichever the host has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "memory", "pids")
PERIOD_US = 100_000
PROCESSES = 4096


def version() -> str:
    """v1, v2, or none where no limits can be set."""
    if (ROOT / "cgroup.controllers").exists():
        return "v2" if _handed_down(ROOT) else "none"
    tops = [ROOT / name for name in CONTROLLERS]
    return "v1" if all((top / "cgroup.procs").exists() and os.access(top, os.W_OK) for top in tops) else "none"


def _handed_down(group: Path) -> bool:
    """Whether groups below this one can have limits; in a container they often cannot."""
    switch = group / "cgroup.subtree_control"
    if not set(CONTROLLERS) <= set(switch.read_text().split()):
        with suppress(OSError):
            switch.write_text(" ".join(f"+{name}" for name in CONTROLLERS))
    return set(CONTROLLERS) <= set(switch.read_text().split())


def groups(family: str, node: str) -> list[Path]:
    """The node's groups on this host; `family` is one cloud's own name."""
    kind = version()
    if kind == "v2":
        return [ROOT / family / node]
    return [ROOT / name / family / node for name in CONTROLLERS] if kind == "v1" else []


def limit(family: str, node: str, cores: int, memory_mb: int) -> list[Path]:
    """Make the node's groups with its limits."""
    made = groups(family, node)
    for group in made:
        group.mkdir(parents=True, exist_ok=True)
    memory, quota = memory_mb * 1024 * 1024, cores * PERIOD_US
    if len(made) == 1:
        _handed_down(made[0].parent)
        settings = {"cpu.max": f"{quota} {PERIOD_US}", "memory.max": str(memory), "pids.max": str(PROCESSES)}
        for name, value in settings.items():
            (made[0] / name).write_text(value)
    elif made:
        cpu, mem, pids = made
        (cpu / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (cpu / "cpu.cfs_quota_us").write_text(str(quota))
        (mem / "memory.limit_in_bytes").write_text(str(memory))
        (pids / "pids.max").write_text(str(PROCESSES))
    return made


def remove(family: str, node: str | None = None) -> None:
    """Remove the node's groups, or the family's own when no node is left in it."""
    for group in groups(family, node or "none"):
        with suppress(OSError):
            (group if node else group.parent).rmdir()
