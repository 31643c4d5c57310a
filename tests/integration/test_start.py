"""Commands that cannot start say why in plain words, end with status 1, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import migrations
from broker.configuration import ca
from broker.database import Database
from broker.errors import ServiceDown
from broker.settings import Settings

ROOT = Path(__file__).parents[2]
BEAMDESK = str(Path(sys.executable).parent / "beamdesk")
ENTERS = [f"--{kind}-caps=+dac_override" for kind in ("inh", "ambient")]  # the checkout, wherever it lies
IS_ROOT = os.getuid() == 0
NOBODY = ["--reuid=nobody", "--regid=nogroup", "--clear-groups", *ENTERS] if IS_ROOT else []
AS_NOBODY = ["setpriv", "--no-new-privs", *NOBODY]  # sudo does nothing for such a process


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of an account without rights, with settings for a demo of its own."""
    with tempfile.TemporaryDirectory(prefix="beamdesk-start-") as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "beamdesk.toml").write_text('state_dir = "var"\n')
        shutil.copy(ROOT / "localcloud.toml", path)
        if IS_ROOT:
            shutil.chown(path, "nobody", "nogroup")
        yield path


def refused(command: list[str], folder: Path, **environment: str) -> str:
    """What a command that must fail says."""
    values = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **environment}
    values = {"BEAMDESK_CONFIG": str(folder / "beamdesk.toml"), **values}
    done = subprocess.run(command, cwd=folder, env=values, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    return said


@pytest.fixture
def taken() -> Iterator[str]:
    """An address at which somebody listens already."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


@pytest.mark.parametrize(("key", "command"), [("web", "web"), ("gateway", "gateway"), ("rdp", "gateway rdp")])
def test_a_port_in_use_is_named_by_its_setting(
    settings: Settings, taken: str, key: str, command: str, tmp_path: Path
) -> None:
    """At once, with what to do."""
    migrations.migrate(Database(settings.database_url))
    variable = f"BEAMDESK_{key.upper()}__LISTEN"
    said = refused([BEAMDESK, *command.split()], tmp_path, **{variable: taken})
    assert f"{key}.listen = '{taken}': cannot listen there (Address already in use)." in said
    assert f"give {key}.listen another one" in said


@pytest.mark.parametrize("key", ["web", "gateway", "rdp"])
def test_a_demo_whose_port_is_in_use_makes_no_machine(folder: Path, taken: str, key: str) -> None:
    """It looks before it starts its cloud."""
    said = refused([*AS_NOBODY, BEAMDESK, "demo"], folder, **{f"BEAMDESK_{key.upper()}__LISTEN": taken})
    assert f"{key}.listen = '{taken}'" in said
    assert not (folder / "var/logs/localcloud.log").exists()


def test_a_demo_without_root_says_what_it_is_needed_for(folder: Path) -> None:
    """And how to get it; no process is left."""
    free = {f"BEAMDESK_{key}__LISTEN": "127.0.0.1:0" for key in ("WEB", "GATEWAY", "RDP")}
    said = refused([*AS_NOBODY, BEAMDESK, "demo"], folder, **free)
    assert "namespaces, for which it must be root" in said
    assert "as root, or as somebody who may use sudo" in said
    assert not (folder / "var/run/localcloud.sock").exists()


def test_broken_settings_stop_every_command_with_the_mistake(folder: Path) -> None:
    """Before anything is made."""
    (folder / "beamdesk.toml").write_text('state_dir = "var"\n[limits]\nsessions_per_user = 0\n')
    for command in (["settings", "check"], ["web"], ["worker"], ["manager"], ["migrate"], ["demo"]):
        said = refused([*AS_NOBODY, BEAMDESK, *command], folder)
        assert "limits.sessions_per_user = 0: must be greater than or equal to 1" in said, command
    assert sorted(path.name for path in folder.iterdir()) == ["beamdesk.toml", "localcloud.toml"]


def test_packages_that_are_missing_are_named_where_nobody_may_install_them(folder: Path) -> None:
    """With the command that root would use."""
    shutil.copy(ROOT / "setup.sh", folder)
    (folder / "packages.txt").write_text("bash\nno-such-package-anywhere\n")
    said = refused([*AS_NOBODY, "sh", "setup.sh"], folder)
    assert "there is neither root nor sudo" in said
    assert "apt-get install --no-install-recommends" in said
    assert "no-such-package-anywhere" in said
    assert not (folder / ".venv").exists()


def test_a_program_that_is_missing_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh-keygen, without which there are no certificates."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceDown, match="ssh-keygen is not installed") as error:
        ca.trusted(tmp_path / "secrets")
    assert "openssh-client" in error.value.hint
