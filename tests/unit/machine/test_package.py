"""The agent is one file that needs nothing but a machine's own Python."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

from agents.machine import package


def test_the_same_sources_give_the_same_file(tmp_path: Path) -> None:
    package.build(tmp_path / "one")
    package.build(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_file_holds_the_agent_and_nothing_of_the_broker(tmp_path: Path) -> None:
    package.build(tmp_path / "agent")
    names = zipfile.ZipFile(tmp_path / "agent").namelist()
    assert {"__main__.py", "__main__.pyc", "agents/protocol.py", "agents/machine/attach.pyc"} <= set(names)
    assert not [name for name in names if not name.startswith(("agents/", "__main__"))]
    assert not [name for name in names if "package" in name or "localcloud" in name]


def test_it_runs_without_site_packages_and_refuses_a_verb_that_it_does_not_know(tmp_path: Path) -> None:
    package.build(tmp_path / "agent")
    done = subprocess.run([tmp_path / "agent", "explode"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "bad-verb"
    assert done.stderr == ""


def test_a_request_that_is_not_understood_is_answered_with_the_field(tmp_path: Path) -> None:
    package.build(tmp_path / "agent")
    done = subprocess.run([tmp_path / "agent", "attach"], capture_output=True, text=True, input='{"session": 1}')
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (1, "bad-request")
    assert "AttachRequest." in error["message"]
