"""Who may do what, for docs/security.md: `python -m tests.integration.web.rights_table --write`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from broker.identity.rights import MAY, Right, Role
from tests.made import show_or_write

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/security.md"
MODULE = "tests.integration.web.rights_table"


def table(paths: dict[str, Any]) -> str:
    """Each right with the roles that have it, then each operation of the API with the right that it needs."""
    roles = [
        "| right | | " + " | ".join(Role) + " |",
        "|---" * (len(Role) + 2) + "|",
        *(
            f"| `{right}` | {_meaning(right)} | {' | '.join('yes' if right in MAY[role] else '' for role in Role)} |"
            for right in Right
        ),
    ]
    operations = ["| operation | right |", "|---|---|"]
    for path, methods in sorted(paths.items()):
        for method, operation in methods.items():
            if method != "parameters":
                right = operation.get("x-right")
                operations.append(f"| `{method.upper()} {path}` | {f'`{right}`' if right else 'everybody'} |")
    return "\n".join([*roles, "", *operations, ""])


def _meaning(right: Right) -> str:
    """What the table of rights says of it."""
    source = (ROOT / "broker/identity/rights.py").read_text()
    found = re.search(rf'    {right.name} = "{right.value}"  # (.*)', source)
    assert found, right
    return found[1]


def _paths() -> dict[str, Any]:
    """The API's own description, of an application that nobody uses."""
    from broker.runtime import open_runtime
    from broker.settings import load
    from tests.conftest import FakeLauncher
    from web.app import create_app

    settings = load(ROOT / "beamdesk.toml").model_copy(update={"database_url": "sqlite://"})
    paths: dict[str, Any] = create_app(open_runtime(settings), FakeLauncher()).spec["paths"]  # type: ignore[index]
    return paths


if __name__ == "__main__":
    show_or_write(DOCUMENT, MODULE, table(_paths()))
