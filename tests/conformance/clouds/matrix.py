"""What was proved of each cloud, for docs/clouds.md: `python -m tests.conformance.clouds.matrix --write`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from tests.conformance.clouds.subjects import PROOFS, ROOT

DOCUMENT = ROOT / "docs" / "clouds.md"
BEGIN = "<!-- Made by `python -m tests.conformance.clouds.matrix --write`. -->\n"
END = "<!-- End of what is made. -->\n"
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
    """Each promise, and the subjects that are held to it: all, or the one that its file is named for."""
    found = []
    for file in sorted(HERE.glob("test_*.py"), key=lambda file: (file.stem.removeprefix("test_") in PROOFS, file.stem)):
        own = file.stem.removeprefix("test_")
        for each in ast.parse(file.read_text()).body:
            if isinstance(each, ast.FunctionDef) and each.name.startswith("test_"):
                promise = each.name.removeprefix("test_").replace("_", " ")
                found.append((promise, [own] if own in PROOFS else list(PROOFS)))
    return found


def parts(document: str) -> tuple[str, str, str]:
    """The document before, at and after what is made."""
    before, begin, rest = document.partition(BEGIN)
    made, end, after = rest.partition(END)
    return before + begin, made, end + after


if __name__ == "__main__":
    before, _, after = parts(DOCUMENT.read_text())
    if "--write" in sys.argv:
        DOCUMENT.write_text(before + matrix() + after)
    else:
        sys.stdout.write(matrix())
