"""What a play tells becomes words that an administrator understands; roles and variables are checked before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker.configuration import playbook
from broker.configuration.ssh import SshTarget
from broker.errors import ConfigurationFailed
from tests.unit.configuration.test_ssh import KEY

TARGET = SshTarget(address="192.0.2.7", host_key=KEY, name="m1")


def heard(*events: dict[str, Any]) -> tuple[playbook._Log, list[str]]:
    tasks: list[str] = []
    log = playbook._Log(tasks.append)
    for event in events:
        assert log.hear(event) is False, "no event is written to a file"
    return log, tasks


def started(task: str) -> dict[str, Any]:
    return {"event": "playbook_on_task_start", "event_data": {"name": task}}


def failed(task: str, **result: Any) -> dict[str, Any]:
    return {"event": "runner_on_failed", "event_data": {"task": task, "res": result}}


def test_progress_is_told_task_by_task() -> None:
    _, tasks = heard({"event": "verbose"}, started("one"), started("two"))
    assert tasks == ["one", "two"]


def test_a_failure_names_the_task_and_its_own_words() -> None:
    log, _ = heard(started("Install"), failed("Install", msg="No package 'x'", stderr="E: Unable to locate", stdout=""))
    assert log.explain("failed", 2, 60, "") == "Install: No package 'x'\nE: Unable to locate"


def test_a_failed_item_of_a_loop_speaks_for_the_loop() -> None:
    result = {"msg": "All items completed", "results": [{"failed": False}, {"failed": True, "msg": "disk full"}]}
    log, _ = heard(failed("Lay the files", **result))
    assert log.explain("failed", 2, 60, "") == "Lay the files: disk full"


def test_an_ignored_failure_is_none() -> None:
    event = failed("try", msg="no")
    event["event_data"]["ignore_errors"] = True
    log, _ = heard(event)
    assert log.failures == []


@pytest.mark.parametrize(
    ("status", "words"), [("timeout", "longer than 60 s during “Install”"), ("canceled", "cancelled during “Install”")]
)
def test_an_end_from_outside_says_where_it_was(status: str, words: str) -> None:
    log, _ = heard(started("Install"))
    assert words in log.explain(status, 254, 60, "")


def test_a_play_that_never_began_shows_what_ansible_said() -> None:
    log, _ = heard()
    assert log.explain("failed", 4, 60, "ERROR! syntax") == "ansible-playbook ended with 4: ERROR! syntax"


def test_an_unknown_role_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFailed, match=r"no role 'sience'; there are .*science"):
        playbook.configure(tmp_path, TARGET, roles=["sience"], variables={}, folder=tmp_path, timeout=9)
    assert list(tmp_path.iterdir()) == []


def test_variables_lie_in_a_file_that_only_we_can_read(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    playbook._write_inputs(private, tmp_path / "state", TARGET, ["light"], {"token": "s3cret"})
    variables = private / "variables.json"
    assert variables.stat().st_mode & 0o777 == 0o600
    assert json.loads(variables.read_text())["token"] == "s3cret"
    assert "s3cret" not in (private / "inventory.json").read_text()


def test_nothing_of_our_environment_reaches_ansible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMDESK_DATABASE__URL", "postgresql://broker:s3cret@db/beamdesk")
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
    config = playbook._config(tmp_path, "/tmp", 60)
    assert "s3cret" not in json.dumps(config.env)
    assert config.env["ANSIBLE_STRATEGY"] == "mitogen_linear"
    assert config.env["ANSIBLE_STDOUT_CALLBACK"] == "awx_display"
    assert config.env["HOME"] == str(tmp_path)
