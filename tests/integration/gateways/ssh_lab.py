"""A real SSH gateway as an account without rights, in front of real sshds on port 22 that are as a machine's is."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import select

from broker.configuration import ca
from broker.gateways.sshd import program
from broker.identity.models import User
from broker.identity.service import begin_sign_in
from broker.runtime import Runtime
from broker.sessions import certificates
from broker.sessions.launch import principal
from tests.integration.gateways.lab import COMMAND, Desk, Lab
from tests.ssh import session_file
from tests.waiting import until

MINE = pwd.getpwuid(os.getuid()).pw_name  # who works on the machines: only root could be somebody else there
OTHER = "daemon"  # an account without rights, which every Debian has
_NUMBERS = itertools.count(100)


def without_rights() -> list[str]:
    """What starts a program as an account without rights, if that can enter our checkout."""
    line = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "--no-new-privs"]
    can = os.getuid() == 0 and subprocess.run([*line, sys.executable, "-c", ""], stderr=subprocess.DEVNULL)
    return line if can and can.returncode == 0 else []


class SshLab(Lab):
    """A deployment with an SSH gateway, and the machines of two sessions."""

    def __init__(self, redis_url: str, **settings: Any) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="beamdesk-ssh-")  # pytest's are closed to other accounts
        folder = Path(self._temporary.name)
        folder.chmod(0o755)
        self.drop = without_rights()
        account = OTHER if self.drop else MINE
        command = [*self.drop, *COMMAND, "ssh"]
        super().__init__(folder, redis_url, command=command, section="ssh", account=account, **settings)
        self.files = Path(tempfile.mkdtemp(dir=folder))
        place = f"{os.getpid() // 256 % 256}.{os.getpid() % 256}"
        self.here, self.there = (f"127.{next(_NUMBERS)}.{place}" for _ in range(2))
        addresses = {"here": self.here, "there": self.there}
        self._machines = [_machine(self.runtime, folder / name, at) for name, at in addresses.items()]

    def _before_start(self) -> None:
        with self.runtime.database.transaction() as db:
            if db.scalar(select(User).where(User.name == MINE)) is None:
                db.add(User(name=MINE, full_name="Me", password_hash=""))
        ca.trusted(self.runtime.settings.secrets_dir)
        if self.drop:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, OTHER, OTHER)

    def visitor(self, address: str = "") -> Visitor:
        """Somebody with a ready session, who has just signed in."""
        with self.runtime.database.reading() as db:
            user = db.scalars(select(User).where(User.name == MINE)).one()
        token, person = begin_sign_in(self.runtime, user)
        desk = Visitor(self, person, token, self._session(person, address or self.here))
        for machine in ("here", "there"):
            with (self.folder / machine / "principals").open("a") as names:
                names.write(f"{principal(desk.session_id)}\n")  # the machines' own door stands open: ours is tested
        return desk

    def tell_machines(self) -> None:
        """Whom to believe now, and new host certificates, as a machine in use gets them."""
        for machine, name in zip(self._machines, ("here", "there"), strict=True):
            _certify(self.runtime, self.folder / name, getattr(self, name))
            machine.send_signal(signal.SIGHUP)

    def close(self) -> None:
        super().close()
        for machine in self._machines:
            machine.terminate()
            machine.wait(10)
        self._temporary.cleanup()


def _machine(runtime: Runtime, folder: Path, address: str) -> subprocess.Popen[bytes]:
    """A machine's sshd, with a host certificate and the users' authority as the role sshd gives them."""
    folder.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True)
    _certify(runtime, folder, address)
    (folder / "principals").touch()
    (folder / "sshd_config").write_text(f"""
ListenAddress {address}:22
HostKey {folder}/host
HostCertificate {folder}/host-cert.pub
TrustedUserCAKeys {folder}/user-ca.pub
AuthorizedPrincipalsFile {folder}/principals
AuthorizedKeysFile none
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
MaxStartups 100
UsePAM no
UseDNS no
PidFile none
Subsystem sftp internal-sftp
""")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program(), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    until(lambda: b"listening" in (folder / "log").read_bytes(), f"the machine's sshd; its log is {folder}/log", 10)
    return process


def _certify(runtime: Runtime, folder: Path, address: str) -> None:
    names = [address, *(f"light-{number}" for number in range(1, 100))]
    secrets = runtime.settings.secrets_dir
    (folder / "host-cert.pub").write_text(ca.sign_host(secrets, (folder / "host.pub").read_text(), names))
    (folder / "user-ca.pub").write_text(ca.trusted(secrets).users + "\n")


class Visitor(Desk):
    """One person's ready session, as seen over SSH."""

    lab: SshLab

    def issue(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the API does, for `session_file`."""
        text = body["public_key"]
        return asdict(certificates.for_public_key(self.lab.runtime, self.person, self.session_id, text))

    def file(self) -> Path:
        """A fresh file of this session, in a folder of its own, where its certificate lies already."""
        file = session_file(Path(tempfile.mkdtemp(dir=self.lab.files)), self.session_id, self.issue)
        subprocess.run(["ssh", "-G", "-F", str(file), "desktop"], check=True, stdout=subprocess.DEVNULL)
        return file

    @contextmanager
    def open_ssh(self, file: Path | None = None, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """An ssh that stays in the machine, from the moment at which it is there."""
        line = ["ssh", "-F", str(file or self.file()), *words, "desktop", "echo in; exec sleep 300"]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"in\n"
                until(lambda: self.rows(open_=True), "the connection's row", 10)
                yield process
            finally:
                process.kill()


def at_gateway(file: Path, *words: str, target: str = "") -> list[str]:
    """The way to the gateway itself, as the file says it; `target` in place of the machine's address and port."""
    line = next(line.strip() for line in file.read_text().splitlines() if "ProxyCommand" in line)
    command = line.removeprefix("ProxyCommand ")
    before, _, host = command.partition(" -W '[%h]:%p' ")
    forward = f"-W {target}" if target else ""
    return ["sh", "-c", f"exec {before} {forward} {' '.join(words[:-1])} {host} {words[-1] if words else ''}"]


def closing_lab(redis_url: str, **settings: Any) -> closing[SshLab]:
    """A lab that is gone in the end."""
    return closing(SshLab(redis_url, **settings))
