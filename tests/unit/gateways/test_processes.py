"""A connection's process is known by its name, and nothing else is ever ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.gateways.processes import carries, end, gateway_name, take_name
from tests.waiting import until


@contextmanager
def carrying(connection_id: int) -> Iterator[int]:
    """A child that carries this connection, until it is ended; its number."""
    child = os.fork()
    if not child:
        take_name(connection_id)
        signal.pause()
        os._exit(0)
    until(lambda: carries(child, connection_id), "the child's name")
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def died(child: int) -> bool:
    return Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"


@pytest.mark.parametrize("connection_id", [1, 2**31 - 1])
def test_a_process_is_known_by_the_connection_that_it_carries(connection_id: int) -> None:
    """For any number of a row; and for no other row's."""
    with carrying(connection_id) as child:
        assert carries(child, connection_id)
        assert not carries(child, connection_id + 1)
        assert not carries(child, connection_id // 10)


def test_a_process_that_ended_carries_nothing_before_it_is_buried() -> None:
    """A zombie keeps its name; where nobody buries orphans it stays for ever."""
    with carrying(7) as child:
        end(child, 7, signal.SIGKILL)
        until(lambda: died(child), "the child to die")
        assert not carries(child, 7)


def test_only_the_process_of_that_very_connection_is_ended() -> None:
    """The number of a process that is gone may be another's by now."""
    with carrying(8) as child, subprocess.Popen(["sleep", "60"]) as stranger:
        end(child, 9, signal.SIGKILL)
        end(stranger.pid, 8, signal.SIGKILL)
        assert carries(child, 8)
        assert stranger.poll() is None
        stranger.kill()


def test_nobody_is_there() -> None:
    """A number that no process has carries nothing, and to end it is no error."""
    with subprocess.Popen(["true"]) as gone:
        pass
    assert not carries(gone.pid, 1)
    end(gone.pid, 1, signal.SIGTERM)


def test_a_program_with_a_strange_name_is_no_desktop(tmp_path: Path) -> None:
    """Names may hold spaces and brackets."""
    program = tmp_path / "desk-1) Z ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as stranger:
        assert not carries(stranger.pid, 1)
        stranger.kill()


def test_gateways_of_one_host_share_a_name() -> None:
    """So that one finds the rows of another; it fits its column."""
    assert gateway_name() == gateway_name()
    assert 0 < len(gateway_name()) <= 80
