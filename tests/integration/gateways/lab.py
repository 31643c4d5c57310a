"""A real gateway in front of a real Xtigervnc; sessions and sign-ins are rows, as the portal would write them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select, update

from agents.machine import seat
from broker.connections.models import Connection
from broker.database import Base, now
from broker.gateways import processes
from broker.identity.models import SignIn, User
from broker.identity.service import Person, begin_sign_in
from broker.pools.models import Machine, MachineState
from broker.runtime import open_runtime
from broker.sessions import service
from broker.sessions.models import LaunchMark, SessionState, UserSession
from broker.settings import Settings
from tests.conftest import SETTINGS
from tests.doors import trust
from tests.integration.gateways.wire import Viewer
from tests.ports import free_port
from tests.waiting import until

ADDRESS = f"127.91.{os.getpid() // 256 % 256}.{os.getpid() % 256}"  # of the machine
LEAVES = f"127.92.{os.getpid() // 256 % 256}.{os.getpid() % 256}"  # of one that hangs up
SOUND = 5950  # where tests serve sound behind that machine's door
PASSWORD = "ohS3cret-desktop"
PATTERN = ("-mod", "16", "16", "-fg", "#3cc4b8", "-bg", "#12232b")
PORTAL = "http://localhost:8080"


class Screen:
    """The machine's screen, for programs that draw on it and listen to it."""

    def __init__(self, display: int) -> None:
        self.environment = {**os.environ, "DISPLAY": f":{display}"}

    def run(self, *command: str) -> str:
        """What a program on the screen prints."""
        result = subprocess.run(
            command, env=self.environment, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=20
        )
        return result.stdout.decode()

    @contextmanager
    def program(self, *command: str, says: str = "") -> Iterator[Callable[[], str]]:
        """A program that stays; what it has printed so far. `says` goes to its input."""
        with tempfile.NamedTemporaryFile("r") as output, open(output.name, "wb") as printed:
            process = subprocess.Popen(command, env=self.environment, stdout=printed, stdin=subprocess.PIPE)
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as entry:
                entry.write(says.encode())
            try:
                yield lambda: Path(output.name).read_text()
            finally:
                process.kill()
                process.wait()


@contextmanager
def vnc_server() -> Iterator[Screen]:
    """A real VNC server on port 5901 of an address of its own, as a machine has it, with something to see."""
    Path("/tmp/.X11-unix").mkdir(mode=0o1777, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="beamdesk-vnc-") as folder:
        secret = Path(folder) / "password"
        secret.write_bytes(seat._obscured(PASSWORD))
        reading, writing = os.pipe()
        command = ["Xtigervnc", "-displayfd", str(writing), "-rfbport", "5901", "-interface", ADDRESS]
        command += ["-SecurityTypes", "VncAuth", "-PasswordFile", str(secret), "-geometry", "800x600", "-depth", "24"]
        command += ["-AlwaysShared", "-BlacklistThreshold", "1000000", "-nolisten", "tcp", "-desktop", "Beamdesk"]
        command += ["-MaxCutText", str(seat.LARGEST_CLIPBOARD)]
        with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
            try:
                os.close(writing)
                with os.fdopen(reading) as answer:
                    screen = Screen(int(answer.readline()))
                screen.run("xsetroot", *PATTERN)
                yield screen
            finally:
                server.terminate()


COMMAND = (str(Path(sys.executable).with_name("beamdesk")), "gateway")
HASTY = """
from broker.gateways import browser, patience
from broker.runtime import current
browser.run(current(), patience.Patience(request=1, opening=3, machine=1, heartbeat=0.2, silence=3))
"""  # the same gateway, which waits for seconds where it else waits for a minute


class Gateway:
    """`beamdesk gateway` in a process of its own."""

    def __init__(self, address: str, config: Path, command: Sequence[str]) -> None:
        self.address, self._config, self._command = address, config, command
        self.port = int(address.rsplit(":")[1])
        self.log = config.with_name("gateway.log")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            environment = {**os.environ, "BEAMDESK_CONFIG": str(self._config)}
            process = subprocess.Popen(self._command, env=environment, stdout=output, stderr=output)
        until(lambda: self._listens(process), f"the gateway; its log is {self.log}", 30)
        return process

    def _listens(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start_again(self) -> None:
        """Another listening process on the same port, after the first one was ended."""
        self.process = self._start()

    def end(self, number: signal.Signals) -> None:
        """End the listening process alone."""
        self.process.send_signal(number)
        self.process.wait(20)

    def children(self) -> set[int]:
        """The numbers of the listening process's children; without those that have ended."""
        listing = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(number) for number in listing.split() if state(int(number)) not in ("", "Z")}

    def processes(self) -> int:
        """How many processes of the gateway live, of whatever parent: what a fork keeps is its environment."""
        mark, found = f"BEAMDESK_CONFIG={self._config}\0".encode(), 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                found += mark in (process / "environ").read_bytes() and state(int(process.name)) != "Z"
        return found

    def memory(self) -> int:
        """Bytes of memory that the listening process has."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """How many files the listening process holds open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def state(pid: int) -> str:
    """The process's state: R, S, Z and so on; empty where there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    return ""


class Lab:
    """A deployment with a gateway: its database, and two people."""

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        *,
        command: Sequence[str] = COMMAND,
        database: str = "",
        section: str = "gateway",
        **settings: int | str,
    ) -> None:
        listen = f"127.0.0.1:{free_port()}"
        lines = [f'[database]\nurl = "{database}"'] * bool(database)
        values = (f"{name} = {json.dumps(value)}" for name, value in settings.items())
        lines += [f"[{section}]", f'listen = "{listen}"', *values]
        config = folder / "beamdesk.toml"
        parts = (f"state_dir = {json.dumps(str(folder))}", SETTINGS, "[redis]", f'url = "{redis_url}"')
        config.write_text("\n".join((*parts, *lines)))
        self.folder = folder
        with environment(BEAMDESK_CONFIG=str(config)):
            self.runtime = open_runtime(Settings())
        Base.metadata.create_all(self.runtime.database.engine)
        with self.runtime.database.transaction() as db:
            for name in ("alice", "bob"):
                db.add(User(name=name, full_name=name.title(), password_hash=""))
        trust(folder)
        self._before_start()
        self.gateway = Gateway(listen, config, command)

    def _before_start(self) -> None:
        """What a gateway of another kind needs."""

    def desk(self, name: str = "alice", address: str = ADDRESS) -> Desk:
        """A ready session of this person's, who has just signed in."""
        with self.runtime.database.reading() as db:
            user = db.scalars(select(User).where(User.name == name)).one()
        token, person = begin_sign_in(self.runtime, user)
        return Desk(self, person, token, self._session(person, address))

    def _session(self, person: Person, address: str) -> int:
        with self.runtime.database.transaction() as db:
            machine = Machine(
                pool="light-ral",
                environment="light",
                size="small",
                cloud="ral",
                state=MachineState.ACQUIRED,
                address=address,
                host_key="ssh-ed25519 AAAA",
            )
            db.add(machine)
            db.flush()
            session = UserSession(
                user_id=person.user_id,
                environment="light",
                wish={"environment": "light"},
                state=SessionState.READY,
                machine_id=machine.id,
                ready_at=now(),
                expires_at=now() + timedelta(hours=48),
                password=PASSWORD,
            )
            db.add(session)
            db.flush()
            return session.id

    def close(self) -> None:
        """End every process of the gateway, those that it left behind as well."""
        if self.gateway.process.poll() is None:
            self.gateway.end(signal.SIGTERM)
        with self.runtime.database.reading() as db:
            for row in db.scalars(select(Connection).where(Connection.closed_at.is_(None))):
                processes.end(row.pid, row.id, signal.SIGKILL)
        self.runtime.database.close()


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """These variables, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class Desk:
    """One person's ready session. Called, it is a viewer of the desktop, as a browser would open it."""

    def __init__(self, lab: Lab, person: Person, token: str, session_id: int) -> None:
        self.lab, self.person, self.token, self.session_id = lab, person, token, session_id
        self.headers = {"Origin": PORTAL, "Cookie": f"beamdesk={token}"}
        self.viewers: list[Viewer] = []

    def ticket(self) -> str:
        """A fresh ticket of this sign-in for this session."""
        return service.ticket(self.lab.runtime, self.person, self.session_id)

    def __call__(
        self, ticket: str | None = None, headers: dict[str, str] | None = None, path: str = "/desktop"
    ) -> Viewer:
        """A viewer that has yet to greet; or that was refused."""
        token = self.ticket() if ticket is None else ticket
        viewer = Viewer(self.lab.gateway.address, f"{path}?token={token}", self.headers if headers is None else headers)
        self.viewers.append(viewer)
        return viewer

    def rows(self, *, open_: bool) -> list[Connection]:
        """The connections' rows of this session, open or closed."""
        with self.lab.runtime.database.reading() as db:
            rows = db.scalars(
                select(Connection).where(Connection.session_id == self.session_id).order_by(Connection.id)
            )
            return [row for row in rows if (row.closed_at is None) == open_]

    def set_session(self, state: SessionState) -> None:
        """Let the session be in this state, as if the manager had moved it there."""
        with self.lab.runtime.database.transaction() as db:
            db.execute(update(UserSession).where(UserSession.id == self.session_id).values(state=state))

    def end_session(self) -> None:
        """End the session as its user does."""
        service.end(self.lab.runtime, self.person, self.session_id)

    def set_sign_in(self, **values: object) -> None:
        """Change the sign-in's row."""
        with self.lab.runtime.database.transaction() as db:
            db.execute(update(SignIn).where(SignIn.id == self.person.sign_in_id).values(**values))

    def marks(self) -> set[str]:
        """The stages that this launch has reached."""
        with self.lab.runtime.database.reading() as db:
            return set(db.scalars(select(LaunchMark.stage).where(LaunchMark.session_id == self.session_id)))

    def close(self) -> None:
        """Leave, with every viewer."""
        for viewer in self.viewers:
            viewer.socket.close()
