"""Rows of the benchmarks: printed as a table, kept in build/bench.json, merged by name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "build/bench.json"


@dataclass(frozen=True)
class Row:
    """One figure beside its peer or floor. `target` is what `value` (or `ratio`) may be at most; None: no target."""

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool | None = None
    note: str = ""


def write(rows: list[Row]) -> None:
    """Print the rows, and keep them beside those of other names."""
    old = json.loads(FILE.read_text()) if FILE.is_file() else []
    fresh = {row.name for row in rows}
    FILE.parent.mkdir(exist_ok=True)
    kept = [entry for entry in old if entry["name"] not in fresh]
    FILE.write_text(json.dumps([*kept, *(asdict(row) for row in rows)], indent=1))
    for row in rows:
        met = {None: "", True: "met", False: "MISSED"}[row.met]
        target = "" if row.target is None else f"target {row.target:g}"
        peer = "" if row.peer_value is None else f"{row.ratio:.2f} x {row.peer} ({row.peer_value:.3f})"
        print(f"{row.name:52} {row.value:10.3f} {row.unit:8} {target:14} {met:7} {peer}  {row.note}", flush=True)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values are at most."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
