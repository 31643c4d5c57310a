"""`make lint` fails where a vulnerability is known of what we pin, and says so plainly where nobody could be asked.

pip-audit is the real one; the service behind it is a fake in OSV's form, because none can be reached from here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

ROOT = Path(__file__).parents[2]
FLAW = {
    **{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "summary": "It lets everybody in."},
    "affected": [
        {
            "package": {"name": "flask", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
            "versions": [],
        }
    ],
}


class FakeOsv(BaseHTTPRequestHandler):
    """Answers OSV's query: it knows of flaws by package."""

    known: ClassVar[dict[str, list[dict[str, Any]]]] = {}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        flaws = self.known.get(asked["package"]["name"].lower(), [])
        body = json.dumps({"vulns": flaws} if flaws else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeOsv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `make lint` runs, in a checkout."""
    command = [sys.executable, str(root / ".ci/vulnerabilities.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that it reads."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/vulnerabilities.py").write_text((ROOT / ".ci/vulnerabilities.py").read_text())
    (tmp_path / "pyproject.toml").write_text("[tool.beamdesk.vulnerabilities]\n")
    (tmp_path / "requirements.txt").write_text("Flask==3.1.3\nclick==8.5.1\n")
    return tmp_path


def test_a_known_vulnerability_fails_with_its_names_and_what_mends_it(
    checkout: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is named, with why, as one that does not concern us."""
    monkeypatch.setattr(FakeOsv, "known", {"flask": [FLAW]})
    osv = ["--vulnerability-service", "osv", "--osv-url", service]
    done = audit(checkout, *osv)
    assert (done.returncode, done.stderr) == (1, "flask 3.1.3: PYSEC-2026-1, CVE-2026-1; mended in 99.0\n")
    (checkout / "pyproject.toml").write_text('[tool.beamdesk.vulnerabilities]\nPYSEC-2026-1 = "We have no doors."\n')
    done = audit(checkout, *osv)
    assert (done.returncode, done.stdout) == (0, "pip-audit: no vulnerability is known of 2 packages\n"), done.stderr


def test_nothing_known_is_said_of_all_that_is_pinned(service: str) -> None:
    """Our own list, in the form that pip-audit reads."""
    done = audit(ROOT, "--vulnerability-service", "osv", "--osv-url", service)
    pinned = sum("==" in line for line in (ROOT / "requirements.txt").read_text().splitlines())
    assert (done.returncode, done.stdout) == (0, f"pip-audit: no vulnerability is known of {pinned} packages\n")


def test_a_service_that_is_away_is_said_and_fails_nothing(checkout: Path) -> None:
    """Nobody is told that all is well."""
    done = audit(checkout, "--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/v1/query")
    assert done.returncode == 0
    assert "NOT ASKED" in done.stderr
    assert "was not checked" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9"])
def test_without_a_network_it_says_so_at_once(checkout: Path, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it asks for a hundred packages in vain."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    done = audit(checkout)
    assert done.returncode == 0
    assert "NOT ASKED, https://pypi.org/pypi/pip/26.0/json does not answer" in done.stderr


def test_each_vulnerability_that_does_not_concern_us_has_its_reason() -> None:
    """The list in pyproject.toml."""
    import tomllib

    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["beamdesk"]["vulnerabilities"]
    assert all(len(why) > 20 for why in table.values())
