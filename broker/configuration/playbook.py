"""Ansible's part of a machine's life: from a bare machine to one that can be attached to.

ansible-runner writes what it is given into its folder, the whole environment of this process included. So it gets
a folder of its own that is removed afterwards, its variables in a file that only we can read, and an environment
with nothing of ours in it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

from broker.configuration import ca, ssh
from broker.configuration.ssh import SshTarget
from broker.errors import ConfigurationFailed

_ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = _ROOT / "ansible"
_CHECK_SECONDS = 0.5  # between two looks at `cancel`; ansible-runner's own are 5 s apart

_ansible_runner: Any = ansible_runner  # it has no types

Event = Mapping[str, Any]


def configure(
    state_dir: Path,
    target: SshTarget,
    *,
    roles: Sequence[str],
    variables: Mapping[str, Any],
    folder: Path,
    timeout: float,
    on_event: Callable[[str], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    play: str = "machine.yml",
) -> None:
    """Run the environment's `roles` on the machine, or raise ConfigurationFailed with the task that failed.

    `folder` holds the variables while the play runs, secrets too: best one in memory. `on_event` is told the name of
    each task as it begins; the play ends soon after `cancel` says True. With `play` another of ansible/ is run.
    """
    _must_exist(roles)
    private = Path(tempfile.mkdtemp(prefix="play-", dir=folder))
    sockets = tempfile.mkdtemp(prefix="play-")  # mitogen's: a short path, as sockets need
    try:
        _write_inputs(private, state_dir, target, roles, variables)
        log, config = _Log(on_event), _config(private, sockets, timeout, play)
        runner = _ansible_runner.Runner(config, event_handler=log.hear, cancel_callback=cancel)
        status, code = runner.run()
        if status != "successful":
            output = runner.stdout.read() if status == "failed" else ""
            raise ConfigurationFailed(
                f"Machine {target.name} could not be configured: {log.explain(status, code, timeout, output)}",
                hint="It is replaced by a new machine.",
            )
    finally:
        shutil.rmtree(private, ignore_errors=True)
        shutil.rmtree(sockets, ignore_errors=True)


def _must_exist(roles: Sequence[str]) -> None:
    known = sorted(path.name for path in (ANSIBLE / "roles").iterdir())
    for role in roles:
        if role not in known:
            raise ConfigurationFailed(f"There is no role {role!r}; there are {', '.join(known)}.")


def _write_inputs(
    private: Path, state_dir: Path, target: SshTarget, roles: Sequence[str], variables: Mapping[str, Any]
) -> None:
    secrets = state_dir.absolute() / "secrets"
    values = {
        **variables,
        "agent_file": str(agent_file(state_dir.absolute())),
        "environment_roles": list(roles),
        "host_certificate": ca.sign_host(secrets, target.host_key, [target.name, target.address]),
        "user_ca_public": ca.trusted(secrets).users,
    }
    machine = {
        "ansible_host": target.address,
        "ansible_port": target.port,
        "ansible_user": "root",
        "ansible_ssh_args": "",
        "ansible_ssh_common_args": shlex.join(ssh.options(state_dir, target)),
    }
    _private_file(private / "variables.json", values)
    _private_file(private / "inventory.json", {"all": {"hosts": {"machine": machine}}})


def _private_file(path: Path, content: object) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)


@functools.cache
def agent_file(state_dir: Path) -> Path:
    """The packed agent, as this checkout's sources make it."""
    target = state_dir / "agent" / "beamdesk-agent"
    line = [sys.executable, "-m", "agents.machine.package", str(target)]
    done = subprocess.run(line, cwd=_ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise ConfigurationFailed(f"The agent could not be packed: {done.stderr.strip()}")
    return target


def _config(private: Path, sockets: str, timeout: float, play: str = "machine.yml") -> Any:
    given = _environment(private, sockets)
    config = _ansible_runner.RunnerConfig(
        private_data_dir=str(private),
        project_dir=str(ANSIBLE),
        playbook=play,
        inventory=str(private / "inventory.json"),
        cmdline=f"-e @{shlex.quote(str(private / 'variables.json'))}",
        timeout=int(timeout),
        quiet=True,
        suppress_env_files=True,
        envvars=given,
    )
    config.prepare()
    inherited = {name for name, value in config.env.items() if name not in given and os.environ.get(name) == value}
    config.env = {name: value for name, value in config.env.items() if name not in inherited}
    config.pexpect_timeout = _CHECK_SECONDS
    return config


def _environment(private: Path, sockets: str) -> dict[str, str]:
    """All that ansible-playbook finds in its environment, besides what ansible-runner itself adds."""
    return {
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_DEPRECATION_WARNINGS": "False",  # of strategies that are not Ansible's own
        "ANSIBLE_HOME": str(private / "home"),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_STRATEGY": "mitogen_linear",  # a whole play in the time of two ordinary tasks
        "ANSIBLE_STRATEGY_PLUGINS": str(_package_folder("ansible_mitogen") / "plugins" / "strategy"),
        "HOME": str(private),
        "LANG": "C.UTF-8",
        "TMPDIR": sockets,
        "PATH": f"{sysconfig.get_path('scripts')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigurationFailed(f"The Python package {name} is not installed.", hint="Run make setup.")
    return Path(spec.origin).parent


@dataclass
class _Log:
    """What a play tells while it runs, kept for the case that it fails."""

    on_event: Callable[[str], None] | None
    task: str = ""
    failures: list[str] = field(default_factory=list)

    def hear(self, event: Event) -> bool:
        """Take note; False, because ansible-runner need not write the event to a file."""
        data = event.get("event_data") or {}
        match event.get("event"):
            case "playbook_on_task_start":
                self.task = data.get("name") or data.get("task") or ""
                if self.on_event:
                    self.on_event(self.task)
            case "runner_on_failed" | "runner_on_unreachable" if not data.get("ignore_errors"):
                self.failures.append(f"{data.get('task', self.task)}: {_message(data.get('res') or {})}")
        return False

    def explain(self, status: str, code: int, timeout: float, output: str) -> str:
        """Why the play did not succeed, for a person."""
        if self.failures:
            return self.failures[0]
        during = f" during “{self.task}”" if self.task else ""
        if status == "timeout":
            return f"it took longer than {timeout:.0f} s{during}."
        if status == "canceled":
            return f"it was cancelled{during}."
        return f"ansible-playbook ended with {code}{during}: {output.strip()[-1000:]}"


def _message(result: Mapping[str, Any]) -> str:
    """The words of a failed task's result that say most; a loop has them in its items."""
    for item in result.get("results", []):
        if item.get("failed"):
            return _message(item)
    parts = [str(result.get(key, "")).strip() for key in ("msg", "stderr", "stdout")]
    return "\n".join(dict.fromkeys(part for part in parts if part))[:2000] or "no reason was given"
