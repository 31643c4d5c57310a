"""Ansible and SSH against a real machine: what is repeated, what fails and how, and what is left behind."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agents.protocol import Nothing, StatusAnswer
from broker.configuration import playbook, ssh
from broker.configuration.ssh import SshTarget
from broker.errors import AgentRefused, ConfigurationFailed, MachineUnreachable
from tests.integration.machine.desk import Desk
from tests.integration.machine.lab import Lab
from tests.waiting import until

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYoXbf6X7QKpOLKjUUyPSlvhJwvfgr49M5OUUX4v2bv"


def configure(desk: Desk, folder: Path, **changed: object) -> None:
    settings: dict[str, object] = {"roles": ["light"], "variables": {}, "folder": folder, "timeout": 120, **changed}
    target = settings.pop("target", desk.target)
    playbook.configure(desk.state_dir, target, **settings)  # type: ignore[arg-type]


def nothing_of(folder: Path) -> bool:
    """Whether the play's files and processes are gone."""
    running = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True).returncode == 0
    return not running and list(folder.iterdir()) == []


@pytest.fixture
def bare(lab: Lab) -> Iterator[SshTarget]:
    """A machine that nothing was done to."""
    target = lab.build()
    yield target
    lab.destroy(target)


def test_configuring_again_changes_nothing(light: Desk, tmp_path: Path) -> None:
    files = "/etc/beamdesk/* /etc/ssh/beamdesk-user-ca.pub /usr/local/sbin/beamdesk-agent /usr/local/lib/beamdesk/*"
    look = f"stat -c '%n %Y' {files}"
    before = light.root(look)
    configure(light, tmp_path)
    assert light.root(look) == before
    assert "rdp-key.pem" in before


def test_progress_is_told_and_a_secret_leaves_no_trace(light: Desk, tmp_path: Path) -> None:
    tasks: list[str] = []
    configure(light, tmp_path, variables={"token": "s3cret-of-the-play"}, on_event=tasks.append)
    assert "base : Lay the files of all roles" in tasks
    assert nothing_of(tmp_path)
    found = "grep -rl s3cret-of-the-play /etc /root /tmp /run /var/log /var/lib/beamdesk /usr/local 2> /dev/null"
    assert light.root(found) == ""


def test_the_keys_of_a_machine_are_its_own_and_nobody_elses_to_read(light: Desk) -> None:
    assert light.root("stat -c %a:%U /etc/beamdesk/rdp-key.pem").strip() == "600:xrdp"
    assert light.target.name in light.root("ssh-keygen -L -f /etc/ssh/beamdesk-host-cert.pub")


def test_a_failed_task_is_named_with_its_reason(fresh: Callable[[str], Desk], tmp_path: Path) -> None:
    desk = fresh("light")
    desk.root("rm -r /etc/X11/icewm; touch /etc/X11/icewm")
    with pytest.raises(ConfigurationFailed, match=r"could not be configured: Lay the files of all roles: .*icewm"):
        configure(desk, tmp_path)
    assert nothing_of(tmp_path)


def test_an_environments_own_check_passes_only_a_machine_that_is_as_it_should_be(
    light: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ansible, folder = Path(shutil.copytree(playbook.ANSIBLE, tmp_path / "ansible")), tmp_path / "folder"
    folder.mkdir()
    (ansible / "roles/licence/tasks").mkdir(parents=True)
    task = "- name: Look for the licence\n  ansible.builtin.command: test -e /opt/licence\n  changed_when: false\n"
    (ansible / "roles/licence/tasks/main.yml").write_text(task)
    monkeypatch.setattr(playbook, "ANSIBLE", ansible)
    with pytest.raises(ConfigurationFailed, match="could not be configured: Look for the licence: "):
        configure(light, folder, roles=["licence"], play="check.yml")
    light.root("touch /opt/licence")
    configure(light, folder, roles=["licence"], play="check.yml")


def test_a_play_that_takes_too_long_or_is_cancelled_ends(light: Desk, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFailed, match="it was cancelled"):
        configure(light, tmp_path, cancel=lambda: True)
    with pytest.raises(ConfigurationFailed, match="it took longer than 1 s"):
        configure(light, tmp_path, timeout=1)
    until(lambda: nothing_of(tmp_path), "ansible-playbook to end", 15)


def test_a_machine_with_another_host_key_is_never_talked_to(light: Desk, tmp_path: Path) -> None:
    impostor = replace(light.target, host_key=OTHER_KEY)
    with pytest.raises(MachineUnreachable, match="verification failed"):
        ssh.run(light.state_dir, impostor, ["true"])
    with pytest.raises(ConfigurationFailed, match="host key"):
        configure(light, tmp_path, target=impostor)


def test_a_machine_without_its_agent_says_what_is_missing(lab: Lab, bare: SshTarget) -> None:
    with pytest.raises(AgentRefused, match="beamdesk-agent") as caught:
        ssh.agent(lab.state_dir, bare, "status", Nothing(), StatusAnswer)
    assert caught.value.facts["reason"] == "no-answer"


def test_an_agent_without_an_environment_says_so(lab: Lab, bare: SshTarget, light: Desk) -> None:
    agent = (lab.state_dir / "agent" / "beamdesk-agent").read_bytes()
    ssh.run(lab.state_dir, bare, ["sh", "-c", f"cat > {ssh.AGENT}; chmod 755 {ssh.AGENT}"], stdin=agent)
    assert ssh.agent(lab.state_dir, bare, "status", Nothing(), StatusAnswer).session is None
    with pytest.raises(AgentRefused) as caught:
        Desk(lab.state_dir, bare).attach()
    assert caught.value.facts["reason"] == "not-configured"


def test_a_command_that_hangs_is_given_up_and_the_next_one_works(light: Desk) -> None:
    with pytest.raises(MachineUnreachable, match="did not answer within 1 s"):
        ssh.run(light.state_dir, light.target, ["sleep", "60"], timeout=1)
    assert light.root("echo here") == "here\n"


def test_what_a_command_reads_and_says_is_passed_as_it_is(light: Desk) -> None:
    done = ssh.run(light.state_dir, light.target, ["sh", "-c", "cat; echo 'a  \"b\"' >&2; exit 3"], stdin=b"\x00\xff\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"\x00\xff\n", b'a  "b"\n', 3)


def test_a_machine_that_is_gone_is_unreachable_even_over_a_kept_connection(lab: Lab) -> None:
    target = lab.build()
    ssh.run(lab.state_dir, target, ["true"])
    lab.destroy(target)
    for _ in range(2):
        with pytest.raises(MachineUnreachable):
            ssh.run(lab.state_dir, target, ["true"], timeout=3)


def test_kept_connections_end_when_they_are_closed(light: Desk) -> None:
    light.root("true")
    sockets = str(ssh._socket_folder(light.state_dir))
    assert subprocess.run(["pgrep", "-f", f"ssh: {sockets}"], capture_output=True).returncode == 0
    ssh.close_all(light.state_dir)
    until(lambda: subprocess.run(["pgrep", "-f", sockets], capture_output=True).returncode == 1, "ssh to end", 10)
    assert list(Path(sockets).iterdir()) == []
