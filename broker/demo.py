"""`make demo`: everything on this machine, from an embedded cloud to the portal; nothing is left when it stops.

Only the local cloud's daemon runs as root. It lives as long as the pipe to its standard input: when the demo ends,
however it ends, the daemon removes every machine, mount, namespace and process that it made, and stops.
"""

from __future__ import annotations

import fcntl
import hashlib
import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import click
from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Message, Printer

from broker import settings as settings_module
from broker.errors import ServiceDown
from broker.serve import port_must_be_free
from broker.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT = "beamdesk"
STATES = Path("/var/lib/beamdesk")


def run() -> None:
    """Start everything, say where it is, and stay until Ctrl-C."""
    settings = settings_module.load(ROOT / "beamdesk.toml" if "BEAMDESK_CONFIG" not in os.environ else None)
    account = _account()
    _make_folders(settings, account)
    with _alone(settings):
        port_must_be_free("web.listen", settings.web.listen)
        port_must_be_free("gateway.listen", settings.gateway.listen)
        port_must_be_free("rdp.listen", settings.rdp.listen)
        port_must_be_free("ssh.listen", settings.ssh.listen)
        _start(settings, account)


def _start(settings: Settings, account: pwd.struct_passwd) -> None:
    with _local_cloud(settings, account):
        if os.getuid() == account.pw_uid:
            _take_name(settings)
            _run_parts(settings)
        else:
            _as_account(account, settings)


def clean() -> None:
    """Remove what earlier demos left on this machine, their homes and history included."""
    settings = settings_module.load(ROOT / "beamdesk.toml" if "BEAMDESK_CONFIG" not in os.environ else None)
    with _alone(settings):
        state = _cloud_state(settings)
        subprocess.run([*_as_root(), *_daemon("purge"), "--state", state], check=True)
        subprocess.run([*_as_root(), "rm", "-rf", "--one-file-system", state], check=True)
        subprocess.run([*_as_root(), "rm", "-rf", settings.state_dir.absolute()], check=True)


def _account() -> pwd.struct_passwd:
    """Whose processes all but the daemon are: ours, or an account without rights where we are root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    owner = pwd.getpwuid(ROOT.stat().st_uid)
    if owner.pw_uid != 0:
        return owner
    with suppress(KeyError):
        return _if_it_can_enter(pwd.getpwnam(ACCOUNT))
    subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT], check=True)
    return _if_it_can_enter(pwd.getpwnam(ACCOUNT))


def _if_it_can_enter(account: pwd.struct_passwd) -> pwd.struct_passwd:
    python = ROOT / ".venv/bin/python"
    drop = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    if subprocess.run([*drop, python, "-c", ""], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return account
    click.echo(f"Note: the account {ACCOUNT} cannot enter {ROOT}, so all parts of this demo run as root.", err=True)
    return pwd.getpwuid(0)


def _make_folders(settings: Settings, account: pwd.struct_passwd) -> None:
    for name in ("", "run", "redis", "logs", "secrets", "evidence"):
        folder = settings.state_dir.absolute() / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.getuid() == 0:
            _own(folder, account)


def _own(folder: Path, account: pwd.struct_passwd) -> None:
    for path in (folder, *folder.iterdir()):
        if path.lstat().st_uid != account.pw_uid:
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One demo at a time in one state directory."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServiceDown(
                f"A demo is running in {settings.state_dir.absolute()} already.", hint="Stop it with Ctrl-C first."
            ) from None
        os.register_at_fork(after_in_child=lock.close)  # it is held by this process alone, and ends with it
        _end_left_over(settings)
        yield


def _end_left_over(settings: Settings) -> None:
    """Kill what is left of an earlier demo in this state directory that was itself killed; let its daemon finish."""
    deadline = time.monotonic() + 60
    _end_parts(settings, deadline)
    while any(_is_about(pid, settings, "localcloud.sock") for pid in _processes()) and time.monotonic() < deadline:
        time.sleep(0.05)


def _end_parts(settings: Settings, deadline: float) -> None:
    while (left := [pid for pid in _processes() if _is_left_over(pid, settings)]) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _is_left_over(pid: int, settings: Settings) -> bool:
    """Whether this is a part of the demo, known by its environment, or the part that starts them, by its name.

    Redis writes its title over its environment; its socket's address is in the title.
    """
    with suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes()  # empty where it has ended and nobody has waited for it
        named = Path(f"/proc/{pid}/comm").read_text().strip() == _name(settings) and pid != os.getpid()
        part = f"STATE={settings.state_dir.absolute()}".encode() in environment.split(b"\0")
        return (bool(environment) and (named or part)) or _is_about(pid, settings, "redis.sock")
    return False


def _is_about(pid: int, settings: Settings, name: str) -> bool:
    """Whether a socket of the state directory is named in the process's command line."""
    with suppress(OSError):
        return f"{settings.state_dir.absolute()}/run/{name}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _name(settings: Settings) -> str:
    """What processes of the demo that have no program of their own are called."""
    return f"demo-{_key(settings)}"


def _take_name(settings: Settings) -> None:
    Path("/proc/self/comm").write_text(_name(settings))


def _key(settings: Settings) -> str:
    """Short for the state directory."""
    return hashlib.sha256(str(settings.state_dir.absolute()).encode()).hexdigest()[:8]


def _as_root() -> list[str]:
    if os.getuid() == 0:
        return []
    if shutil.which("sudo") is None or subprocess.run(["sudo", "-v"], check=False).returncode != 0:
        raise ServiceDown(
            "The local cloud makes network and mount namespaces, for which it must be root.",
            hint="Run `make demo` as root, or as somebody who may use sudo.",
        )
    return ["sudo", "--"]


def _daemon(command: str) -> list[str]:
    return [sys.executable, "-m", "agents.localcloud", command]


def _cloud_config() -> Path:
    """The local cloud's settings: localcloud.toml beside beamdesk.toml."""
    return Path(os.environ["BEAMDESK_CONFIG"]).absolute().parent / "localcloud.toml"


def _cloud_state(settings: Settings) -> Path:
    """Where the daemon keeps machines and homes: root's own, one for each state directory."""
    return STATES / f"demo-{_key(settings)}"


@contextmanager
def _local_cloud(settings: Settings, account: pwd.struct_passwd) -> Iterator[None]:
    """The daemon, for as long as the block runs; at its end it removes all that it made."""
    log = settings.state_dir.absolute() / "logs/localcloud.log"
    address = settings.state_dir.absolute() / "run/localcloud.sock"
    options: list[str | Path] = ["--config", _cloud_config(), "--state", _cloud_state(settings), "--socket", address]
    command: list[str | Path] = [
        *_as_root(),
        *_daemon("serve"),
        *options,
        "--owner",
        str(account.pw_uid),
        "--while-stdin",
    ]
    with log.open("ab") as output:
        daemon = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    assert daemon.stdin is not None  # noqa: S101 - it is a pipe
    os.register_at_fork(after_in_child=daemon.stdin.close)  # the daemon lives as long as this process
    try:
        _wait_for_cloud(daemon, address, log)
        yield
    finally:
        click.echo("Removing all machines …", err=True)
        daemon.stdin.close()
        daemon.wait()


def _wait_for_cloud(daemon: subprocess.Popen[bytes], address: Path, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and daemon.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(address))
            return
        time.sleep(0.05)
    lines = log.read_text(errors="replace").strip().splitlines()
    raise ServiceDown(f"The local cloud did not start: {lines[-1] if lines else 'it said nothing'}", hint=f"See {log}.")


def _as_account(account: pwd.struct_passwd, settings: Settings) -> None:
    """Run the parts in a child without root's rights; its end is ours."""
    child = os.fork()
    if child == 0:
        _take_name(settings)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        os.environ["HOME"] = str(settings.state_dir.absolute())
        try:
            _run_parts(settings)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        with suppress(InterruptedError):
            os.waitpid(child, 0)
            return


def _run_parts(settings: Settings) -> None:
    """Everything but the daemon, under honcho, until a signal."""
    _prepare(settings)
    environment = {
        **os.environ,
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
        "STATE": str(settings.state_dir.absolute()),
        "PYTHONUNBUFFERED": "1",
    }
    with (settings.state_dir / "logs/demo.log").open("a") as log:
        manager = Manager(Printer(log, colour=False))
        parts = parse_procfile((ROOT / "Procfile").read_text()).processes
        for name, command in parts.items():
            manager.add_process(name, command, env=environment, cwd=str(ROOT), quiet=False)
        threading.Thread(target=_say_when_ready, args=(settings, log), daemon=True).start()
        threading.Thread(target=_tell_of_killed, args=(manager, len(parts)), daemon=True).start()
        manager.loop()
    _end_parts(settings, time.monotonic() + 10)  # what a killed starter left running
    _close_books(settings)


def _tell_of_killed(manager: Manager, number: int) -> None:
    """Tell honcho of a starter that was killed: it waits for each one's own word, which a killed one cannot give."""
    while len(starters := multiprocessing.active_children()) < number:
        time.sleep(0.1)
    while starters:
        for starter in [each for each in starters if each.exitcode is not None]:
            starters.remove(starter)
            if starter.exitcode:
                told = {"returncode": starter.exitcode}
                manager.events.put(Message("stop", told, datetime.now(UTC), starter.name, None))
        time.sleep(0.5)


def _prepare(settings: Settings) -> None:
    """The database at its newest version, the accounts, and no session that an earlier demo left open."""
    from broker import migrations
    from broker.configuration import ca
    from broker.database import Database
    from broker.identity.rights import Role
    from broker.identity.service import create_account
    from broker.runtime import Runtime

    database = Database(settings.database_url)
    migrations.migrate(database)
    ca.trusted(settings.secrets_dir)
    runtime = Runtime(settings, database)
    for account in settings.accounts.values():
        create_account(
            runtime, account.name, account.full_name, account.password, role=Role(account.role), groups=account.groups
        )
    database.close()
    _close_books(settings)


def _close_books(settings: Settings) -> None:
    """Write down that the demo's machines are gone, and the sessions on them ended."""
    from sqlalchemy import select

    from broker.configuration import ssh
    from broker.connections import openings
    from broker.connections.models import Connection
    from broker.database import Database
    from broker.pools import models as pools
    from broker.sessions import models as sessions
    from broker.sessions import service

    ssh.close_all(settings.state_dir)
    database = Database(settings.database_url)
    with database.transaction() as db:
        live = select(sessions.UserSession).where(sessions.UserSession.state.in_(sessions.LIVE))
        for session in db.scalars(live).all():
            if session.state in sessions.ACTIVE:
                service.close(db, session, reason="the demo was stopped")
            service.finish(db, session)
        for machine in db.scalars(select(pools.Machine).where(pools.Machine.state.in_(pools.LIVE))).all():
            if machine.state != pools.MachineState.DELETING:
                pools.move(db, machine, pools.MachineState.DELETING, reason="the demo was stopped")
                db.refresh(machine)
            pools.move(db, machine, pools.MachineState.DELETED, reason="the demo was stopped")
        openings.close(db, Connection.closed_at.is_(None))
    database.close()


def _say_when_ready(settings: Settings, log: IO[str]) -> None:
    """Show how the first machines come on, then the one line that a newcomer waits for."""
    from broker.database import Database

    database = Database(settings.database_url, pool_size=1)
    began, shown = time.monotonic(), ""
    while True:
        states = _states(database)
        if "vacant" in states:
            break
        line = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "starting"
        if line != shown:
            click.echo(f"  {time.monotonic() - began:5.1f} s  machines: {line}", err=True)
            shown = line
        time.sleep(0.2)
    people = ", ".join(f"{a.name} / {a.password}" for a in settings.accounts.values())
    click.echo(f"\nBeamdesk is ready at {settings.web.public_url}  (accounts: {people})\n")
    click.echo(f"Ctrl-C stops it and removes everything. Logs: {Path(log.name).parent}", err=True)


def _states(database: object) -> dict[str, int]:
    from sqlalchemy import func, select

    from broker.database import Database
    from broker.pools.models import LIVE, Machine

    assert isinstance(database, Database)  # noqa: S101
    with database.reading() as db:
        rows = db.execute(select(Machine.state, func.count()).where(Machine.state.in_(LIVE)).group_by(Machine.state))
        return {state: number for state, number in rows}
