"""The SSH gateway: what works through it, by OpenSSH's own programs, and what it refuses."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from broker.clouds.adapter import PRINCIPAL
from broker.configuration import ca, keyring
from broker.connections.models import Certificate
from broker.database import now
from broker.errors import PolicyForbids
from broker.identity.models import User
from broker.identity.service import sign_out
from broker.sessions import certificates
from broker.sessions.certificates import gateway_principal
from tests.integration.gateways.ssh_lab import MINE, OTHER, SshLab, Visitor, at_gateway, closing_lab
from tests.ports import free_port
from tests.ssh import new_key, ssh, write_file
from tests.waiting import until

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(os.getuid() != 0, reason="a machine's sshd listens on port 22, which needs root"),
]


@pytest.fixture(scope="module")
def lab(redis_url: str) -> Iterator[SshLab]:
    """The SSH gateway that these tests share."""
    with closing_lab(redis_url) as made:
        yield made


@pytest.fixture
def visitor(lab: SshLab) -> Iterator[Visitor]:
    """Somebody with a ready session."""
    with_session = lab.visitor()
    yield with_session
    until(lambda: not with_session.rows(open_=True), "every connection's row to be closed", 15)


@contextmanager
def echo_server(host: str) -> Iterator[int]:
    """A server on the machine that answers what it hears; its port."""
    with socket.create_server((host, 0)) as server:

        def answer() -> None:
            while True:
                try:
                    client = server.accept()[0]
                except OSError:
                    return
                with client:
                    client.sendall(client.recv(100))

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def run(line: list[str]) -> subprocess.CompletedProcess[str]:
    """A command that nobody answers questions of."""
    return subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, start_new_session=True
    )


def test_a_command_runs_without_a_question(visitor: Visitor) -> None:
    """The file alone leads to the machine: no address of it is reachable from outside, and nobody is asked."""
    done = ssh(visitor.file(), "desktop", "whoami; cat", stdin="typed")
    assert (done.returncode, done.stdout) == (0, f"{MINE}\ntyped"), done.stderr
    assert done.stderr == ""
    row = until(lambda: visitor.rows(open_=False), "the connection's row", 10)[0]
    assert (row.user_id, row.sign_in_id, row.client) == (visitor.person.user_id, visitor.person.sign_in_id, "127.0.0.1")
    with visitor.lab.runtime.database.reading() as db:
        assert db.get_one(Certificate, row.certificate_id).used_at is not None


def test_the_gateway_is_no_root(lab: SshLab) -> None:
    """Its processes run as an account without rights."""
    assert Path(f"/proc/{lab.gateway.process.pid}").stat().st_uid != 0


def test_files_are_copied_both_ways(visitor: Visitor, tmp_path: Path) -> None:
    """By scp, sftp and rsync; the same bytes come back."""
    file = visitor.file()
    sent, far = tmp_path / "sent", tmp_path / "far"
    sent.write_bytes(os.urandom(3_000_000))
    far.mkdir()
    for line in (
        ["scp", "-F", str(file), str(sent), f"desktop:{far}/by-scp"],
        ["rsync", "-e", f"ssh -F '{file}'", str(sent), f"desktop:{far}/by-rsync"],
    ):
        assert run(line).returncode == 0
    batch = tmp_path / "batch"
    batch.write_text(f"put {sent} {far}/by-sftp\nget {far}/by-sftp {tmp_path}/back\n")
    assert run(["sftp", "-F", str(file), "-b", str(batch), "desktop"]).returncode == 0
    for copy in (far / "by-scp", far / "by-rsync", far / "by-sftp", tmp_path / "back"):
        assert copy.read_bytes() == sent.read_bytes()


def test_ports_of_the_own_machine_are_forwarded(visitor: Visitor) -> None:
    """One port (-L), any by SOCKS (-D, as editors do), and one by standard input (-W)."""
    file, local, socks = visitor.file(), free_port(), free_port()
    with echo_server("127.0.0.1") as port:
        with visitor.open_ssh(file, "-L", f"{local}:127.0.0.1:{port}", "-D", str(socks)):
            with socket.create_connection(("127.0.0.1", local), 10) as through:
                through.sendall(b"by -L")
                assert through.recv(100) == b"by -L"
            with socket.create_connection(("127.0.0.1", socks), 10) as through:
                through.sendall(b"\5\1\0" + b"\5\1\0\1" + socket.inet_aton("127.0.0.1") + port.to_bytes(2))
                answer = b""
                while len(answer) < 12:
                    answer += through.recv(100)
                assert answer[:4] == b"\5\0\5\0"
                through.sendall(b"by -D")
                assert through.recv(100) == b"by -D"
        assert ssh(file, "-W", f"127.0.0.1:{port}", "desktop", stdin="by -W").stdout == "by -W"


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ([], "true"),
        (["-tt"], ""),
        (["-s"], "sftp"),
        (["-N", "-o ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"], ""),
    ],
    ids=["command", "terminal", "subsystem", "remote forwarding"],
)
def test_the_gateway_itself_does_nothing(visitor: Visitor, options: list[str], command: str) -> None:
    """No shell, no terminal, no file transfer, no way back."""
    done = run(at_gateway(visitor.file(), *options, command))
    assert done.returncode == 255, done.stdout
    assert "open failed" in done.stderr or "remote port forwarding failed" in done.stderr, done.stderr


@pytest.mark.parametrize("target", ["{here}:23", "{there}:22", "127.0.0.1:22", "localhost:22", "0x7f.{rest}:22"])
def test_only_the_own_machines_ssh_is_reached(visitor: Visitor, target: str) -> None:
    """Not another port of it, not another session's machine, not the gateway's own host, by whatever name."""
    here, there = visitor.lab.here, visitor.lab.there
    assert ssh(visitor.lab.visitor(there).file(), "desktop", "true").returncode == 0
    place = target.format(here=here, there=there, rest=here.partition(".")[2])
    done = run(at_gateway(visitor.file(), target=place))
    assert done.returncode == 255
    assert "administratively prohibited" in done.stderr


def test_a_unix_socket_of_the_gateway_is_not_reached(visitor: Visitor, tmp_path: Path) -> None:
    """The broker's own Redis, for one."""
    local = tmp_path / "local"
    line = at_gateway(visitor.file(), "-N", "-L", f"{local}:{visitor.lab.folder}/any.sock", "")
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            until(local.exists, "ssh to listen", 10)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(local))
                client.settimeout(10)
                assert client.recv(1) == b""
        finally:
            process.kill()
        assert process.stderr is not None
        assert "open failed" in process.stderr.read()


def refused(file: Path) -> None:
    """The file leads nowhere: the gateway does not let it in."""
    done = ssh(file, "desktop", "true")
    assert done.returncode == 255
    assert "Permission denied" in done.stderr, done.stderr


def signed(visitor: Visitor, **changes: object) -> Path:
    """A file whose certificate differs in this from the one that the broker would sign."""
    folder = Path(tempfile.mkdtemp(dir=visitor.lab.files))
    public = new_key(folder / f"beamdesk-{visitor.session_id}")
    issued = visitor.issue("", {"public_key": public})
    values = {
        "principals": [f"session-{visitor.session_id}", gateway_principal(issued["serial"])],
        "valid_until": now() + timedelta(hours=1),
        "key_id": "alice in session 1",
        "options": ("permit-port-forwarding",),
        "serial": issued["serial"],
        **changes,
    }
    secrets = values.pop("secrets", visitor.lab.runtime.settings.secrets_dir)
    certificate = ca.sign_user(secrets, public, **values)  # type: ignore[arg-type]
    (folder / f"beamdesk-{visitor.session_id}-cert.pub").write_text(certificate + "\n")
    return bringing_nothing(write_file(folder, visitor.session_id, issued["config"]))


def bringing_nothing(file: Path) -> Path:
    """The file, which no longer writes a certificate on use."""
    file.write_text(re.sub(r'exec ".*"\n', 'exec "true"\n', file.read_text()))
    return file


def test_a_good_certificate_signed_so_is_let_in(visitor: Visitor) -> None:
    """Else the refusals below would prove nothing."""
    assert ssh(signed(visitor), "desktop", "echo in").stdout == "in\n"


def test_another_authoritys_certificate_is_refused(visitor: Visitor, tmp_path: Path) -> None:
    """Though all that it says is right."""
    refused(signed(visitor, secrets=tmp_path))


def test_a_certificate_without_a_live_session_is_refused(visitor: Visitor) -> None:
    """One of nobody's, one for the machine alone, and the broker's own, which is root on every machine."""
    for principals in (["certificate-999999"], [f"session-{visitor.session_id}"], [PRINCIPAL]):
        refused(signed(visitor, principals=principals))


def test_a_certificate_that_allows_no_forwarding_opens_nothing(visitor: Visitor) -> None:
    """The authority has the last word."""
    done = ssh(signed(visitor, options=("permit-pty",)), "desktop", "true")
    assert done.returncode == 255
    assert "administratively prohibited" in done.stderr


def test_an_expired_certificate_is_refused(visitor: Visitor) -> None:
    """By sshd itself, and by its row."""
    file = signed(visitor, valid_until=now() + timedelta(seconds=2))
    until(lambda: ssh(file, "desktop", "true").returncode == 255, "the certificate to expire", 15)
    refused(file)
    file = visitor.file()
    with visitor.lab.runtime.database.transaction() as db:
        mine = Certificate.session_id == visitor.session_id
        db.execute(update(Certificate).where(mine).values(expires_at=now() - timedelta(seconds=1)))
    refused(file)


def test_a_key_without_a_certificate_is_refused(visitor: Visitor) -> None:
    """And no password is asked for."""
    file = bringing_nothing(visitor.file())
    (file.parent / f"beamdesk-{visitor.session_id}-cert.pub").unlink()
    done = ssh(file, "desktop", "true")
    assert "Permission denied (publickey)" in done.stderr


def test_an_ended_sessions_certificate_is_refused_at_once(lab: SshLab) -> None:
    """The very next connection, whatever the gateway knew before."""
    visitor = lab.visitor()
    file = visitor.file()
    assert ssh(file, "desktop", "true").returncode == 0
    visitor.end_session()
    refused(file)


def test_a_new_certificate_is_good_at_once(lab: SshLab) -> None:
    """Nobody has to wait until the gateway has heard of it."""
    for _ in range(3):
        assert ssh(lab.visitor().file(), "desktop", "true").returncode == 0


def test_who_signed_out_is_refused(lab: SshLab) -> None:
    """The certificates of that sign-in die with it; another sign-in's do not."""
    gone, stays = lab.visitor(), lab.visitor()
    files = gone.file(), stays.file()
    sign_out(lab.runtime, gone.person)
    refused(files[0])
    assert ssh(files[1], "desktop", "true").returncode == 0


@pytest.fixture
def in_group(lab: SshLab) -> Iterator[Callable[..., None]]:
    """`in_group("nothing-out")`: the visitors' account is in these groups, until the test is over."""

    def put(*groups: str) -> None:
        with lab.runtime.database.transaction() as db:
            db.execute(update(User).where(User.name == MINE).values(groups=list(groups)))

    yield put
    put()


def test_where_the_policy_holds_back_copies_or_files_nobody_gets_in(
    lab: SshLab, visitor: Visitor, in_group: Callable[..., None]
) -> None:
    """Neither by a certificate that was issued before, nor by one who showed it just before the policy came; a new one
    is refused with the reason. What is open goes on, and where the policy goes the old certificate is good again."""
    file = visitor.file()
    with visitor.open_ssh(file) as before:
        in_group("nothing-in")
        refused(file)
        with pytest.raises(PolicyForbids) as told:
            visitor.file()
        assert told.value.facts["not_allowed"] == ["clipboard_in", "files_in"]
        serial = visitor.rows(open_=True)[0].certificate_id
        assert serial is not None
        with pytest.raises(PolicyForbids), lab.runtime.database.transaction() as db:
            certificates.used(db, lab.runtime.settings, serial)
        assert before.poll() is None
    in_group()
    assert ssh(file, "desktop", "true").returncode == 0


def test_another_gateway_in_its_place_is_not_trusted(visitor: Visitor, tmp_path: Path) -> None:
    """A host key that our host authority has not signed: ssh goes no further, and says so."""
    other = ca.trusted(tmp_path).hosts.split()[1]
    file = visitor.file()
    ours = ca.trusted(visitor.lab.runtime.settings.secrets_dir).hosts.split()[1]
    file.write_text(file.read_text().replace(ours, other))
    done = ssh(file, "desktop", "true")
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_garbage_ends_nothing(visitor: Visitor) -> None:
    """Neither random bytes nor half a greeting; the next one comes in."""
    address = ("127.0.0.1", visitor.lab.gateway.port)
    dice = random.Random(7)
    for size in (0, 1, 20, 300, 5000):
        with socket.create_connection(address, 10) as client:
            client.sendall(b"SSH-2.0-x\r\n"[: size % 12] + dice.randbytes(size))
    assert ssh(visitor.file(), "desktop", "true").returncode == 0


def test_a_name_with_a_line_of_sshds_log_in_it_is_nobody(visitor: Visitor) -> None:
    """Who says to be called as sshd writes who came in, is not written down as that."""
    file = visitor.file()
    serial = max(int(word) for word in _serials(visitor))
    lie = f"a\nAccepted publickey for a from b port 1 ssh2: X-CERT Y ID a (serial {serial}) CA Z W\nb"
    line = at_gateway(file, "-o", "BatchMode=yes", "true")
    line[2] = line[2].replace(f"-l {OTHER}", '-o "User=$LIE"').replace(f"-l {MINE}", '-o "User=$LIE"')
    assert "LIE" in line[2]
    done = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, env={**os.environ, "LIE": lie}
    )
    assert done.returncode == 255
    assert visitor.rows(open_=True) == visitor.rows(open_=False) == []
    assert ssh(file, "desktop", "true").returncode == 0


def _serials(visitor: Visitor) -> list[int]:
    with visitor.lab.runtime.database.reading() as db:
        return [row.id for row in db.query(Certificate).filter_by(session_id=visitor.session_id)]


def test_the_authorities_are_replaced_while_people_are_in(lab: SshLab, visitor: Visitor) -> None:
    """Files of before work until the switch, files of meanwhile to the end, and nobody who is in is put out."""
    secrets, old = lab.runtime.settings.secrets_dir, visitor.file()

    def all_do(step: Callable[[Path, str], None]) -> None:
        for authority in ca.AUTHORITIES:
            step(secrets, authority)
        lab.tell_machines()

    def gets_in(file: Path) -> bool:
        return ssh(file, "desktop", "true").returncode == 0

    with visitor.open_ssh(old) as inside:
        all_do(keyring.begin)
        meanwhile = visitor.file()
        until(lambda: gets_in(old) and gets_in(meanwhile), "both to get in", 10)
        all_do(keyring.switch)
        until(lambda: gets_in(meanwhile), "the file of meanwhile to get in", 10)
        assert "Host key verification failed" in ssh(old, "desktop", "true").stderr
        new = visitor.file()
        assert gets_in(new)
        all_do(keyring.forget)
        until(lambda: gets_in(new), "the new file to get in", 10)
        assert "Permission denied" in ssh(meanwhile, "desktop", "true").stderr
        keyring.replace(secrets, "ssh_gateway")
        assert gets_in(new)
        assert inside.poll() is None
