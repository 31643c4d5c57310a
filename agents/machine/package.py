"""Packs the agent into one file: `python -m agents.machine.package build/beamdesk-agent`.

The file is a zip archive that /usr/bin/python3 runs, with each module's source and, beside it, its compiled form for
this Python (another Python falls back to the source). The same sources give the same bytes.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import zipfile
from io import BytesIO
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SHEBANG = b"#!/usr/bin/python3 -IS\n"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def sources() -> dict[str, Path]:
    """Name in the archive -> file, for all that the agent is made of."""
    package = _ROOT / "agents"
    parts = [package / "__init__.py", package / "protocol.py", *sorted((package / "machine").glob("*.py"))]
    start, builder = package / "machine" / "__main__.py", Path(__file__)
    named = {str(path.relative_to(_ROOT)): path for path in parts if path not in (start, builder)}
    return {**named, "__main__.py": start}


def archive() -> bytes:
    """The agent's file."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as target:
        for name, path in sources().items():
            text = path.read_bytes()
            target.writestr(zipfile.ZipInfo(name, _LONG_AGO), text)
            target.writestr(zipfile.ZipInfo(f"{name}c", _LONG_AGO), _compiled(text, name))
    return _SHEBANG + packed.getvalue()


def _compiled(text: bytes, name: str) -> bytes:
    """The module as a .pyc file that is bound to no time of its source (PEP 552, unchecked)."""
    code = compile(text, f"beamdesk-agent/{name}", "exec", dont_inherit=True, optimize=0)
    flags = (0b01).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(text) + marshal.dumps(code)


def build(target: Path) -> None:
    """Write the agent to `target`, unless it is there already; several may do so at once."""
    content = archive()
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.chmod(0o755)
    draft.rename(target)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
