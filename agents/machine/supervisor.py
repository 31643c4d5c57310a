"""Keeps a seat's programs running: the display, the message bus, the desktop, its doors
to the outside and, for a session, the RDP server.

A supervisor is a process of its own that outlives the agent's verb. It holds a lock as long as it lives, so whoever
can take the lock knows that there is none. It starts the display at once and the rest when it is told that the
account is there; if the one who should tell it dies, it ends, and the next attach begins afresh. When the desktop
ends (a log-out) its windows are closed and a fresh one starts on the same display, so no viewer is cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from agents.machine import door, rdp, x11
from agents.machine.faults import AgentError
from agents.machine.seat import LOGS, Seat, bus_command, desktop, display_command, end_processes_of, groups_of
from agents.machine.state import RUN

_FIRST_PAUSE, _LONGEST_PAUSE, _STEADY = 0.1, 10.0, 10.0  # seconds; who ran steadily restarts without a pause
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # a killed supervisor leaves nothing that holds its ports
_SESMAN_CONFIG = "/etc/beamdesk/sesman.ini"


class Program:
    """One program that is kept running, with the pause before its next start growing while it keeps failing."""

    def __init__(
        self,
        name: str,
        start: Callable[[int], subprocess.Popen[bytes]],
        *,
        needs: tuple[str, ...] = (),
        takes_down: tuple[str, ...] = (),
        tells: bool = False,
    ) -> None:
        self.name, self._start, self.needs, self.takes_down, self._tells = (
            name,
            start,
            needs,
            takes_down,
            tells,
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_pipe: int | None = None
        self.ready = False
        self.not_before = 0.0
        self._started, self._failures = 0.0, 0

    def start(self) -> None:
        """Start it; it is ready at once unless it tells when it is."""
        self._started = time.monotonic()
        told, tell = os.pipe()
        os.set_inheritable(tell, self._tells)
        try:
            self.process = self._start(tell)
        except (OSError, AgentError) as error:
            print(f"{self.name} cannot start: {error}", file=sys.stderr, flush=True)
            self._pause()
        finally:
            os.close(tell)
        if self._tells and self.process:
            self.ready_pipe = told
        else:
            os.close(told)
            self.ready = self.process is not None

    def hear(self) -> None:
        """Take note of what came through the ready pipe: a line, maybe in pieces, and it is ready."""
        if self.ready_pipe is not None:
            said = os.read(self.ready_pipe, 256)
            self.ready = said.endswith(b"\n")
            if self.ready or not said:
                os.close(self.ready_pipe)
                self.ready_pipe = None

    def ended(self) -> bool:
        """Whether it ran and has ended by itself; then the next start is planned."""
        if self.process is None or self.process.poll() is None:
            return False
        self._pause()
        self._forget()
        return True

    def _pause(self) -> None:
        now = time.monotonic()
        self._failures = 0 if now - self._started > _STEADY else self._failures + 1
        self.not_before = now + (min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self._failures - 1)) if self._failures else 0)

    def end(self) -> None:
        """Stop it with all of its process group; it may start again at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._forget()

    def _forget(self) -> None:
        self.process, self.ready = None, False
        if self.ready_pipe is not None:
            os.close(self.ready_pipe)
            self.ready_pipe = None


class Supervisor:
    """The loop over a seat's programs. With `once` it ends when one of them does, or at the deadline."""

    def __init__(self, seat: Seat, go: int, *, once: bool, seconds: float | None) -> None:
        self._seat, self._go, self._once = seat, go, once
        self._account_ready = self._stopping = False
        self._deadline = time.monotonic() + seconds if seconds else None
        self.programs = {program.name: program for program in self._programs()}
        self._starting = threading.Lock()  # of what is started beside the programs
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    def _programs(self) -> list[Program]:
        programs = [
            Program("display", self._start_display, takes_down=("desktop", "bus"), tells=True),
            Program("door", self._start_door),
            Program("bus", self._start_bus, needs=("account",), takes_down=("desktop",), tells=True),
            Program("desktop", self._start_desktop, needs=("account", "display", "bus"), takes_down=("bus",)),
        ]
        if self._seat.rdp:
            programs += [
                Program("rdp-logins", self._start_sesman, needs=("account", "desktop")),
                *(Program(one, self._xrdp(one), needs=("account", "desktop")) for one in rdp.SERVERS),
            ]
        return programs

    def run(self) -> None:
        """Keep the programs until told to stop; then end everything that the seat's account runs."""
        signal.set_wakeup_fd(self._wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        if self._seat.rdp:  # a session's seat; a probe's is in nobody's use
            threading.Thread(target=_watch, args=(self._seat,), daemon=True).start()
            threading.Thread(target=_sound, args=(self._seat, self._starting), daemon=True).start()
        try:
            while not self._stopping:
                self._start_what_is_due()
                self._wait()
                self._tend()
        finally:
            self._starting.acquire()  # for good
            for program in self.programs.values():
                program.end()
            end_processes_of(self._seat.uid)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _start_what_is_due(self) -> None:
        for program in self.programs.values():
            due = program.process is None and time.monotonic() >= program.not_before
            if due and all(map(self._is_ready, program.needs)):
                program.start()

    def _is_ready(self, need: str) -> bool:
        return self._account_ready if need == "account" else self.programs[need].ready

    def _wait(self) -> None:
        """Sleep until a signal, a message, or the next planned start."""
        now = time.monotonic()
        times = [p.not_before for p in self.programs.values() if p.process is None and p.not_before > now]
        if self._deadline:
            times.append(self._deadline)
        pipes = {p.ready_pipe: p for p in self.programs.values() if p.ready_pipe is not None}
        go = [] if self._account_ready else [self._go]
        timeout = max(0.0, min(times) - now) if times else None
        heard, _, _ = select.select([self._wake_read, *go, *pipes], [], [], timeout)
        for descriptor in heard:
            if descriptor in pipes:
                pipes[descriptor].hear()
            elif descriptor == self._go:
                self._account_ready = bool(os.read(self._go, 1))
                self._stopping |= not self._account_ready
            else:
                os.read(self._wake_read, 4096)

    def _tend(self) -> None:
        for program in self.programs.values():
            if program.ended():
                print(f"{program.name} has ended", file=sys.stderr, flush=True)
                self._stopping |= self._once
                self._take_down(program)
        self._stopping |= self._deadline is not None and time.monotonic() >= self._deadline

    def _take_down(self, program: Program) -> None:
        if program.name == "desktop":
            with contextlib.suppress(OSError, x11.XError), self._seat.open_display() as display:
                display.end_clients()
        for name in program.takes_down:
            self.programs[name].end()

    def _start_display(self, ready: int) -> subprocess.Popen[bytes]:
        return self._spawn("display", display_command(self._seat, ready), ready)

    def _start_bus(self, ready: int) -> subprocess.Popen[bytes]:
        return self._spawn("bus", bus_command(self._seat, ready), ready)

    def _start_desktop(self, _: int) -> subprocess.Popen[bytes]:
        return self._spawn("desktop", list(desktop().command))

    def _spawn(self, program: str, command: list[str], *descriptors: int) -> subprocess.Popen[bytes]:
        group, groups = groups_of(self._seat.uid)
        with self._seat.log(program).open("wb") as log:
            return subprocess.Popen(
                [*_DIES_WITH_US, *command],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._seat.uid,
                group=group,
                extra_groups=groups,
                cwd=self._seat.home if Path(self._seat.home).is_dir() else "/",
                env=self._seat.environment(),
            )

    def _start_sesman(self, _: int) -> subprocess.Popen[bytes]:
        return self._spawn_server("rdp-logins", ["xrdp-sesman", "--nodaemon", "--config", _SESMAN_CONFIG], None)

    def _xrdp(self, name: str) -> Callable[[int], subprocess.Popen[bytes]]:
        return lambda _: self._spawn_server(name, rdp.command(self._seat, name), "xrdp")

    def _start_door(self, _: int) -> subprocess.Popen[bytes]:
        return self._spawn_server("door", door.command(self._seat), door.ACCOUNT)

    def _spawn_server(self, program: str, command: list[str], user: str | None) -> subprocess.Popen[bytes]:
        for pid_file in Path("/run/xrdp").glob(f"{command[0]}.pid"):
            pid_file.unlink()
        with self._seat.log(program).open("wb") as log:
            return subprocess.Popen(
                [*_DIES_WITH_US, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )


def _watch(seat: Seat) -> None:
    from agents.machine import watch  # no launch waits for it

    watch.keep(seat)


def _sound(seat: Seat, starting: threading.Lock) -> None:
    from agents.machine import sound  # nor for this

    sound.keep(seat, starting)


def launch(
    seat: Seat,
    *,
    once: bool = False,
    seconds: float | None = None,
    unless: Callable[[], bool] = bool,
    afterwards: Callable[[], None] = lambda: None,
) -> int | None:
    """Start the seat's supervisor, unless there is one; the result is where to write once the account is ready.

    It asks `unless` after it can be found by end(): who makes that true first and calls end() then, stops it for sure.
    """
    lock = _take_lock(seat)
    if lock is None:
        return None
    go_read, go_write = os.pipe()
    os.set_inheritable(go_write, False)
    if os.fork() == 0:
        _become_daemon(seat, keep=(lock, go_read))
        try:
            if not unless():
                Supervisor(seat, go_read, once=once, seconds=seconds).run()
            afterwards()
        except BaseException as error:
            print(f"the supervisor fails: {error!r}", file=sys.stderr, flush=True)
            raise
        finally:
            os._exit(0)
    os.close(lock)
    os.close(go_read)
    return go_write


def running(seat: Seat) -> bool:
    """Whether the seat has a supervisor."""
    lock = _take_lock(seat)
    if lock is not None:
        os.close(lock)
    return lock is None


def end(seat: Seat, *, seconds: float = 0.0) -> None:
    """Stop the seat's supervisor, if there is one, and all that its account runs; wait up to `seconds` for it."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        if running(seat):
            os.kill(int(_lock_file(seat).read_text()), signal.SIGTERM)
    end_processes_of(seat.uid)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and running(seat):
        time.sleep(0.01)


def _lock_file(seat: Seat) -> Path:
    return RUN / f"{seat.name}-supervisor.lock"


def _take_lock(seat: Seat) -> int | None:
    RUN.mkdir(mode=0o755, exist_ok=True)
    lock = os.open(_lock_file(seat), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _become_daemon(seat: Seat, keep: tuple[int, ...]) -> None:
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    log = os.open(LOGS / f"{seat.name}-supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nowhere = os.open("/dev/null", os.O_RDWR)
    for source, target in ((nowhere, 0), (nowhere, 1), (log, 2)):
        os.dup2(source, target)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))
    os.ftruncate(keep[0], 0)
    os.pwrite(keep[0], str(os.getpid()).encode(), 0)
