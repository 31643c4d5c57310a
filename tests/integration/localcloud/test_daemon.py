"""Starting the daemon: there is one for each state directory, and what hinders it is said in a line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents.localcloud.cloud import names
from tests.integration.localcloud.daemon import ROOT, Daemon, Machine, MakeDaemon

pytestmark = pytest.mark.machines


def refused(line: list[str], **options: str) -> str:
    """What the daemon says that does not start: one line."""
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, env=options or None)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("localcloud: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def changed(line: list[str], **values: Path) -> list[str]:
    """The command with other values of these options."""
    return [str(values.get(before.lstrip("-"), word)) for before, word in zip(["", *line], line, strict=False)]


def test_a_second_daemon_is_refused_on_the_same_state(cloud: Daemon, machine: Machine, tmp_path: Path) -> None:
    said = refused(changed(cloud.line(), socket=tmp_path / "other.sock"))
    assert f"a local cloud is at work in {cloud.state} already" in said
    purge = [sys.executable, "-m", "agents.localcloud", "purge", "--state", str(cloud.state)]
    assert "already" in refused(purge)
    assert cloud.state_of(machine.id) == "running"


def test_a_socket_or_subnet_that_another_daemon_has_is_refused(cloud: Daemon, tmp_path: Path) -> None:
    other = changed(cloud.line(), state=tmp_path / "state")
    assert f"{cloud.socket} is in use" in refused(other)
    said = refused(changed(other, socket=tmp_path / "other.sock"))
    assert "10.231.50.0/25 is in use" in said
    assert "give localcloud.toml another subnet" in said
    assert not Path("/sys/class/net", names(tmp_path / "state")[1]).exists()
    assert cloud.ask("GET", "/v1")[0] == 200


def test_a_socket_that_cannot_be_made_is_refused(cloud: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("precious")
    line = changed(cloud.line(), state=tmp_path / "state")
    assert f"{file} is no socket" in refused(changed(line, socket=file))
    assert file.read_text() == "precious"
    assert "too long for a socket" in refused(changed(line, socket=tmp_path / ("x" * 120)))
    assert "there is no folder" in refused(changed(line, socket=tmp_path / "none" / "api.sock"))


def test_a_dead_daemons_socket_is_no_hindrance(own_cloud: MakeDaemon) -> None:
    cloud = own_cloud().start()
    cloud.crash()
    assert cloud.socket.exists()
    cloud.start()
    assert cloud.socket.stat().st_mode & 0o777 == 0o600
    cloud.stop()
    assert not cloud.socket.exists()


def test_without_root_it_says_what_to_do(cloud: Daemon) -> None:
    script = "import os, agents.localcloud.__main__ as m; os.setuid(65534); m.main()"
    assert "must be root; start it with sudo" in refused([sys.executable, "-c", script, *cloud.line()[3:]])


def test_a_missing_program_is_named_with_its_package(cloud: Daemon, tmp_path: Path) -> None:
    script = "import agents.localcloud.__main__ as m; m.NEEDED['no-such-program'] = 'its-package'; m.main()"
    line = [sys.executable, "-c", script, *cloud.line()[3:]]
    assert "no-such-program is missing; install the package its-package" in refused(line)


def test_only_root_and_the_owner_may_use_the_api(own_cloud: MakeDaemon) -> None:
    cloud = own_cloud().start("--owner", "20001")
    for path in (cloud.folder, *cloud.folder.parents[:-2]):  # below the folder of all temporary files
        path.chmod(path.stat().st_mode | 0o011)
    script = """
import socket, sys
with socket.socket(socket.AF_UNIX) as api:
    api.connect(sys.argv[1])
    api.sendall(b"GET /v1 HTTP/1.0\\r\\n\\r\\n")
    print(api.recv(100).decode().split()[1])
"""

    def answer(uid: int) -> str:
        account = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        line = [*account, shutil.which("python3", path="/usr/bin") or sys.executable, "-c", script, str(cloud.socket)]
        done = subprocess.run(line, capture_output=True, text=True, cwd="/")
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    assert answer(20001) == "200"
    assert answer(20002).startswith("PermissionError")
    cloud.socket.chmod(0o666)
    assert answer(20002) != "200"
