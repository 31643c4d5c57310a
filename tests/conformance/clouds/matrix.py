"""What was proved of each cloud, for docs/clouds.md: `python -m tests.conformance.clouds.matrix --write`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from tests.conformance.clouds.subjects import PROOFS, ROOT
from tests.made import show_or_write

DOCUMENT = ROOT / "docs" / "clouds.md"
MODULE = "tests.conformance.clouds.matrix"
HERE = Path(__file__).parent


def matrix() -> str:
    """Two tables: what each driver is held against, and to what."""
    rows = ["| driver | kind | held against | not proved |", "|---|---|---|---|"]
    rows += [f"| {each.driver} | {each.kind} | {each.against} | {each.not_proved} |" for each in PROOFS.values()]
    rows += [
        "",
        f"| promise | {' | '.join(each.driver for each in PROOFS.values())} |",
        "|---" * (len(PROOFS) + 1) + "|",
    ]
    for promise, held in promises():
        rows.append(f"| {promise} | {' | '.join(PROOFS[name].kind if name in held else '' for name in PROOFS)} |")
    return "\n".join(rows) + "\n"


def promises() -> list[tuple[str, list[str]]]:
    """Each promise, and the subjects that are held to it: all, or those that its marks name."""
    found = []
    for file in sorted(HERE.glob("test_*.py"), key=lambda file: (file.stem.removeprefix("test_") in PROOFS, file.stem)):
        module = importlib.import_module(f"{__package__}.{file.stem}")
        for name, function in vars(module).items():
            if name.startswith("test_"):
                marks = [*_marks(module), *_marks(function)]
                named = next((subjects for mark in marks if (subjects := _subjects(mark))), list(PROOFS))
                found.append((name.removeprefix("test_").replace("_", " "), named))
    return found


def _marks(marked: Any) -> list[Any]:
    marks = getattr(marked, "pytestmark", [])
    return marks if isinstance(marks, list) else [marks]


def _subjects(mark: Any) -> list[str]:
    """Those that a mark of parametrize gives as `subject`."""
    if mark.name != "parametrize":
        return []
    names, rows = mark.args[:2]
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    if "subject" not in names:
        return []
    return [row if len(names) == 1 else row[names.index("subject")] for row in rows]


if __name__ == "__main__":
    show_or_write(DOCUMENT, MODULE, matrix())
