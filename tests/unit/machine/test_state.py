"""What the machine knows about its session is never half written, and one attach works at a time."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from agents.machine import state
from agents.machine.state import Attached

ALICE = Attached("42", "alice", 20001, "/home/alice", "2027-01-01T12:00:00+00:00")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path / "lib" / "session.json")
    monkeypatch.setattr(state, "RUN", tmp_path / "run")


def test_a_vacant_machine_has_no_session() -> None:
    assert state.read() is None


def test_the_session_is_read_as_it_was_written() -> None:
    state.write(ALICE)
    assert state.read() == ALICE
    assert state.STATE.stat().st_mode & 0o777 == 0o600


def test_a_write_that_was_killed_half_way_leaves_the_old_state() -> None:
    state.write(ALICE)
    state.STATE.with_name(".session.json.new").write_text('{"session": "4')
    assert state.read() == ALICE
    state.write(Attached("43", "bob", 20002, "/home/bob", ALICE.lease_ends))
    assert state.read() != ALICE


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "password"
    target.write_bytes(b"old")
    state.replace_file(target, b"new", mode=0o400, uid=target.stat().st_uid, gid=target.stat().st_gid)
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o400)


def test_nobody_else_has_a_turn_meanwhile(tmp_path: Path) -> None:
    with state.turn("attach"), (tmp_path / "run" / "attach.lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / "run" / "attach.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
