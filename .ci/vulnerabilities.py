"""Are vulnerabilities known of the packages that we pin? pip-audit asks PyPI; `make lint` ends with this.

Fails where one is known. Where the service cannot be asked that is said, and lint goes on: a network that is away is no
mistake in the code. pyproject.toml's [tool.beamdesk.vulnerabilities] names those that do not concern us, each with why.
Arguments are handed on to pip-audit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import requests

ROOT = Path(__file__).parents[1]
ANSWERS = "https://pypi.org/pypi/pip/26.0/json"  # a mirror of the index often has no such page
SECONDS = 5
AUDIT = ["-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--disable-pip", "--no-deps"]


def main(arguments: list[str]) -> NoReturn:
    """Audit requirements.txt; the status is 1 where a vulnerability is known, else 0."""
    if not arguments:
        _must_answer()
    ignored = [word for name in _ignored() for word in ("--ignore-vuln", name)]
    wanted = arguments or ["--vulnerability-service", "pypi", "--timeout", str(SECONDS)]
    command = [sys.executable, *AUDIT, "-r", str(ROOT / "requirements.txt"), *ignored, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        _not_asked((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    _judge(found)


def _must_answer() -> None:
    """Ask for one package, rather than for a hundred in vain."""
    try:
        answer = requests.get(ANSWERS, timeout=SECONDS)
    except requests.RequestException as error:
        _not_asked(f"{ANSWERS} does not answer ({type(error).__name__})")
    if answer.status_code != requests.codes.ok:
        _not_asked(f"{ANSWERS} answers {answer.status_code}")


def _ignored() -> Iterable[str]:
    table: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["beamdesk"]["vulnerabilities"]
    return table


def _judge(packages: list[dict[str, Any]]) -> NoReturn:
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        _not_asked("the service knows none of the packages")
    wrong = [(package, flaw) for package in packages for flaw in package.get("vulns", ())]
    for package, flaw in wrong:
        names = ", ".join([flaw["id"], *flaw["aliases"]])
        mended = ", ".join(flaw["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {names}; mended in {mended}", file=sys.stderr)
    if skipped:
        print(f"pip-audit: nothing is known of {', '.join(skipped)}", file=sys.stderr)
    if not wrong:
        print(f"pip-audit: no vulnerability is known of {len(packages) - len(skipped)} packages")
    sys.exit(1 if wrong else 0)


def _not_asked(why: str) -> NoReturn:
    print(f"pip-audit: NOT ASKED, {why}. Whether packages have known vulnerabilities was not checked.", file=sys.stderr)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
