"""Parts of documents that a module of the tests makes: `python -m MODULE` shows one, `--write` puts it in place."""

from __future__ import annotations

import sys
from pathlib import Path

END = "<!-- End of what is made. -->\n"


def begin(module: str) -> str:
    """The mark before what this module makes."""
    return f"<!-- Made by `python -m {module} --write`. -->\n"


def parts(document: str, module: str) -> tuple[str, str, str]:
    """The document before, at and after what the module makes."""
    before, mark, rest = document.partition(begin(module))
    made, end, after = rest.partition(END)
    return before + mark, made, end + after


def show_or_write(document: Path, module: str, made: str) -> None:
    """What the module's command does."""
    if "--write" not in sys.argv:
        sys.stdout.write(made)
        return
    before, _, after = parts(document.read_text(), module)
    document.write_text(before + made + after)
