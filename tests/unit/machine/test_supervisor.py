"""A program that is kept: it restarts at once after a log-out, and ever later while it keeps failing."""

from __future__ import annotations

import signal
import subprocess
import time
from itertools import pairwise

from agents.machine.supervisor import Program
from tests.waiting import until


def starting(*command: str) -> Program:
    return Program("program", lambda _: subprocess.Popen(command, start_new_session=True))


def fail_once(program: Program) -> float:
    """Start it, wait for its end, and tell how long the next start is put off."""
    program.start()
    until(program.ended, "the program has ended", 5)
    return program.not_before - time.monotonic()


def test_a_program_that_keeps_failing_waits_longer_each_time_but_never_long() -> None:
    program = starting("false")
    pauses = [fail_once(program) for _ in range(10)]
    assert pauses[0] < 0.2
    assert all(later > earlier - 0.05 for earlier, later in pairwise(pauses))
    assert 9 < pauses[-1] <= 10


def test_a_program_that_cannot_be_started_is_put_off_too() -> None:
    program = starting("/no/such/program")
    program.start()
    assert (program.process, program.ready) == (None, False)
    assert program.not_before > time.monotonic()


def test_a_program_that_tells_is_ready_once_its_line_is_whole_and_may_write_it_in_pieces() -> None:
    script = "printf 1 >&$0; read -r _; printf '\\n' >&$0 && exit 42"
    program = Program(
        "tells",
        lambda tell: subprocess.Popen(["bash", "-c", script, str(tell)], stdin=subprocess.PIPE, pass_fds=[tell]),
        tells=True,
    )
    program.start()
    process = program.process
    assert process is not None
    assert process.stdin is not None
    program.hear()
    assert not program.ready
    process.communicate(b"go on\n")
    program.hear()
    assert program.ready
    assert process.returncode == 42, "its second write was taken"


def test_ending_a_program_ends_what_it_started() -> None:
    program = starting("sh", "-c", "sleep 300 & wait")
    program.start()
    process = program.process
    assert process is not None
    program.end()
    assert process.returncode == -signal.SIGKILL
    alive = ["pgrep", "-r", "D,R,S,T", "-g", str(process.pid)]  # who reaps the dead child, and when, is init's affair
    until(lambda: subprocess.run(alive, capture_output=True).returncode == 1, "its child to end", 10)
