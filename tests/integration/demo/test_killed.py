"""The demo itself is killed; the next one finds nothing in its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo import Place, place
from tests.waiting import until


def children(pid: int) -> list[int]:
    """The processes that this one started and that are not the daemon, which is in a session of its own."""
    found = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [child for child in found if os.getsid(child) == os.getsid(pid)]


SMALL = {"target = 1\n": "target = 0\n", "target = 2\n": "target = 1\n"}  # one machine waits, not four
CHILD = pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user's demo starts the parts itself")


@pytest.mark.parametrize("which", ["all of it", pytest.param("what starts the parts", marks=CHILD)])
def test_a_new_demo_cleans_up_after_one_that_was_killed(which: str) -> None:
    """Its machines go by themselves; its parts, which went on, are ended by the next start, which is then ready."""
    with place("10.231.46.0/24", SMALL) as here:
        first = here.start()
        victims = [first.pid] if which == "all of it" else children(first.pid)
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        first.wait(60)
        until(lambda: not here.has_machines(), "the machines to go", 60)
        left = _parts(here)
        assert left, "nothing was left: this test shows nothing"
        second = here.start()
        assert not left & _parts(here)
        with here.demo.client("alice") as alice:
            id_ = alice.post("/sessions", json={"environment": "light"}).raise_for_status().json()["id"]
            until(lambda: alice.get(f"/sessions/{id_}").json()["state"] == "ready", "a desktop", 60)
        second.send_signal(signal.SIGTERM)
        second.wait(90)
        assert not _parts(here)


def test_a_demo_that_lost_a_starter_ends_by_itself_and_leaves_nothing() -> None:
    """A part's own starter is killed: nobody can start that part again, so all of it stops, as after Ctrl-C."""
    with place("10.231.46.0/24", SMALL) as here:
        demo = here.start()
        starters = children(demo.pid if os.getuid() != 0 else children(demo.pid)[0])
        os.kill(starters[0], signal.SIGKILL)
        demo.wait(90)
        assert not here.has_machines()
        assert not _parts(here)


ABANDONED = """
import subprocess
from pathlib import Path
from tests.demo import ENDS_WITH_US, place
from tests.waiting import until
with place("10.231.46.0/24") as here:
    started = subprocess.Popen([*ENDS_WITH_US, "sleep", "600"], stdout=subprocess.DEVNULL)
    until(lambda: Path(f"/proc/{started.pid}/comm").read_text() == "sleep\\n", "it to be bound to us")
    print(here.demo.folder, started.pid, flush=True)
    input()
"""


def test_a_test_run_that_was_killed_leaves_no_demo() -> None:
    """What it started ends with it, and the next run removes the folder."""
    run = subprocess.Popen([sys.executable, "-c", ABANDONED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    folder, started = run.stdout.readline().split()
    run.kill()
    run.wait(10)
    until(lambda: not Path(f"/proc/{started}").exists(), "what it started to end")
    with place("10.231.46.0/24") as here:
        assert not Path(folder).exists()
        with place("10.231.47.0/24"):
            assert here.demo.folder.exists(), "one that is in use stays"


def _parts(here: Place) -> set[int]:
    return {
        pid for part in ("web", "redis", "gateway", "rdp", "worker", "manager") for pid in here.demo.processes(part)
    }
