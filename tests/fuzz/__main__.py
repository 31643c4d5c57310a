"""`make fuzz`: atheris feeds each parser what it finds leads somewhere new, beginning with the corpus.

What breaks a promise is left in build/fuzz as a file; it belongs into the corpus, which the ordinary tests go through.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CORPUS, FOUND = Path(__file__).parent / "corpus", Path("build/fuzz")


def fuzz(name: str, seconds: str) -> None:
    """Never returns."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["broker.gateways", "tests.fuzz"]):
        from tests.fuzz.targets import TARGETS
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", "-max_len=2000", f"-artifact_prefix={FOUND / name}-"]
    atheris.Setup([name, *options, "-print_final_stats=1", str(FOUND / name), str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Each that was named, or all of them, one after the other."""
    seconds = os.environ.get("SECONDS", "60")
    if len(sys.argv) == 2:
        fuzz(sys.argv[1], seconds)
    names = sorted(path.name for path in CORPUS.iterdir())
    return max(subprocess.call([sys.executable, "-m", "tests.fuzz", name]) for name in names)


if __name__ == "__main__":
    sys.exit(main())
