"""The SSH gateway: what closes an open connection, what does not, and who cannot be kept out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest

from broker.connections import keys
from broker.database import now
from broker.identity.service import sign_out
from broker.sessions import certificates
from broker.sessions.models import SessionState
from tests.integration.gateways.receivers import handed_over
from tests.integration.gateways.ssh_lab import MINE, SshLab, Visitor, closing_lab
from tests.ssh import new_key, ssh, write_file
from tests.waiting import until

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(os.getuid() != 0, reason="a machine's sshd listens on port 22, which needs root"),
]
SOON = 5.0  # seconds


@pytest.fixture(scope="module")
def lab(redis_url: str) -> Iterator[SshLab]:
    """The SSH gateway that most of these tests share."""
    with closing_lab(redis_url) as made:
        yield made


def closes(process: subprocess.Popen[bytes], visitor: Visitor) -> None:
    """The connection closes soon, at both ends, and is written down."""
    until(lambda: process.poll() is not None, "ssh to end", SOON)
    until(lambda: not visitor.rows(open_=True), "the row to be closed", SOON)


def stays(process: subprocess.Popen[bytes], seconds: float = 2.0) -> None:
    """The connection is open for so long at least."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(seconds)


def test_the_end_of_a_session_closes_its_connections_and_no_others(lab: SshLab) -> None:
    """Within seconds."""
    ends, goes_on = lab.visitor(), lab.visitor()
    with ends.open_ssh() as first, ends.open_ssh() as second, goes_on.open_ssh() as other:
        ends.end_session()
        closes(first, ends)
        closes(second, ends)
        stays(other)


def test_a_session_that_failed_has_no_connection(lab: SshLab) -> None:
    """As where its machine died, or was taken away."""
    visitor = lab.visitor()
    with visitor.open_ssh() as process:
        visitor.set_session(SessionState.FAILED)
        closes(process, visitor)


def test_signing_out_closes_what_that_sign_in_opened(lab: SshLab) -> None:
    """And nothing of another sign-in."""
    visitor, other = lab.visitor(), lab.visitor()
    with visitor.open_ssh() as process, other.open_ssh() as stay:
        sign_out(lab.runtime, visitor.person)
        closes(process, visitor)
        stays(stay)


def test_a_sign_in_that_grew_old_closes_nothing(lab: SshLab) -> None:
    """A certificate lives as long as the lease: somebody may work for longer than a browser stays signed in."""
    visitor = lab.visitor()
    with visitor.open_ssh() as process:
        visitor.set_sign_in(expires_at=now() - timedelta(seconds=1))
        stays(process)
        assert ssh(visitor.file(), "desktop", "true").returncode == 0


def test_removing_a_key_closes_its_connections(lab: SshLab, tmp_path: Path) -> None:
    """And its certificates open nothing any more; another key's do."""
    visitor = lab.visitor()
    public = new_key(tmp_path / f"beamdesk-{visitor.session_id}")
    key = keys.add(lab.runtime, visitor.person, "mine", public)
    issued = asdict(certificates.for_key(lab.runtime, visitor.person, visitor.session_id, key.id))
    assert issued["key_file"] is None
    file = write_file(tmp_path, visitor.session_id, issued["config"])
    identity = f"    IdentityFile {tmp_path}/beamdesk-{visitor.session_id}\n"
    option = identity.strip().replace(" ", "=", 1)
    file.write_text(file.read_text().replace("-F none", f"-F none -o {option}") + identity)
    with visitor.open_ssh(file) as process, visitor.open_ssh() as other:
        with lab.runtime.database.reading() as db:
            assert keys.mine(db, visitor.person, key.id).used_at is not None
        keys.remove(lab.runtime, visitor.person, key.id)
        until(lambda: process.poll() is not None, "ssh to end", SOON)
        stays(other)
    assert "Permission denied" in ssh(file, "desktop", "true").stderr


def test_handing_over_closes_the_givers_connections_and_the_receiver_comes_in_as_the_same_account(lab: SshLab) -> None:
    """The giver's certificates open nothing any more; the account on the machine stays the giver's."""
    giver = lab.visitor()
    before = giver.file()
    with giver.open_ssh(before) as process:
        receiver = handed_over(giver, "bob")
        closes(process, giver)
        assert "Permission denied" in ssh(before, "desktop", "true").stderr
        after = ssh(receiver.file(), "desktop", "id", "-un")
        assert (after.stdout.strip(), after.returncode) == (MINE, 0), after.stderr
        with receiver.open_ssh():
            assert {row.user_id for row in receiver.rows(open_=True)} == {receiver.person.user_id}


def test_a_killed_carrier_takes_its_sshd_along(lab: SshLab) -> None:
    """However it dies, no connection is open that nobody watches."""
    visitor = lab.visitor()
    with visitor.open_ssh() as process:
        (row,) = visitor.rows(open_=True)
        group = {pid for pid in _processes() if _session(pid) == row.pid}
        assert len(group) >= 2, "the carrier and its sshd"
        os.kill(row.pid, signal.SIGKILL)
        closes(process, visitor)
    until(lambda: not group & {pid for pid in _processes() if _session(pid) == row.pid}, "its sshd to end", SOON)


def _processes() -> set[int]:
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}


def _session(pid: int) -> int:
    """The number of the leader of the process's session."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_drops_no_connection(redis_url: str, number: signal.Signals) -> None:
    """Nor does the listening process's death; the next one watches what the one before had opened."""
    with closing_lab(redis_url) as lab:
        visitor = lab.visitor()
        with visitor.open_ssh() as process:
            lab.gateway.end(number)
            stays(process, 1)
            lab.gateway.start_again()
            with visitor.open_ssh() as second:
                stays(process, 1)
                visitor.end_session()
                closes(process, visitor)
                closes(second, visitor)


def test_who_says_nothing_keeps_nobody_out(redis_url: str) -> None:
    """Of more silent ones than may wait, the slowest are let go, and a user comes in between them."""
    with closing_lab(redis_url, waiting=4) as lab, ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", lab.gateway.port), 10)) for _ in range(12)]
        assert ssh(lab.visitor().file(), "desktop", "echo in").stdout == "in\n"
        assert sum(_is_closed(client) for client in silent) >= 8
        until(lambda: lab.gateway.processes() < 20, "what was let go to be gone", 10)


def _is_closed(client: socket.socket) -> bool:
    """Whether the gateway hung up, after its greeting."""
    client.settimeout(0.5)
    try:
        while client.recv(100):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def test_a_session_has_no_more_connections_than_it_may(redis_url: str) -> None:
    """The next one is closed; one that ends makes room."""
    with closing_lab(redis_url, connections_per_session=2) as lab:
        visitor = lab.visitor()
        with visitor.open_ssh() as first, visitor.open_ssh() as second:
            assert ssh(visitor.file(), "desktop", "sleep 20").returncode == 255
            stays(first, 0.5)
            second.kill()
            until(lambda: len(visitor.rows(open_=True)) == 1, "the row to be closed", 10)
            assert ssh(visitor.file(), "desktop", "true").returncode == 0


def test_many_at_once_come_in(lab: SshLab) -> None:
    """A dozen at the same moment, each with its row."""
    visitor = lab.visitor()
    file = visitor.file()
    assert ssh(file, "desktop", "true").returncode == 0  # the certificate is written
    line = ["ssh", "-F", str(file), "desktop", "echo in"]
    running = [subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for _ in range(12)]
    assert [process.communicate(timeout=60)[0] for process in running] == [b"in\n"] * 12
    until(lambda: len(visitor.rows(open_=False)) == 13, "their rows", 10)


def test_a_failing_database_lets_nobody_in_and_drops_nobody(redis_url: str) -> None:
    """It may be back soon."""
    with closing_lab(redis_url) as lab:
        visitor = lab.visitor()
        file = visitor.file()
        with visitor.open_ssh(file) as process:
            database = lab.folder / "beamdesk.sqlite3"
            moved = {path: path.with_name(f"away-{path.name}") for path in lab.folder.glob("beamdesk.sqlite3*")}
            for path, away in moved.items():
                path.rename(away)
            database.mkdir()
            began = time.monotonic()
            assert ssh(file, "desktop", "true").returncode == 255
            assert time.monotonic() - began < 20
            stays(process, 1)
            database.rmdir()
            for path, away in moved.items():
                away.rename(path)
        assert until(lambda: ssh(file, "desktop", "true").returncode == 0, "the gateway to serve again", 20, every=1)
