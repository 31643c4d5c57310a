"""The whole of Beamdesk, as `make demo` starts it, with settings, ports, homes and a subnet of one's own."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.ports import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[1]
COMMAND = (str(Path(sys.executable).with_name("beamdesk")),)
ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # also where we are killed
HELD = "held-by-tests"
WORDS = {"web": "wsgi:app", "redis": "redis-server"}  # how a part is called where it is not by its own name


@dataclass(frozen=True)
class Demo:
    """A running demo: the portal's address, where its gateway listens, and the folder that holds all it keeps."""

    url: str
    gateway: str
    folder: Path
    deployment: str

    @contextmanager
    def client(self, name: str) -> Iterator[httpx2.Client]:
        """The API as this person, with a token."""
        with httpx2.Client(base_url=f"{self.url}/api/v1", timeout=30) as client:
            account = {"name": name, "password": "beamtime-admin" if name == "admin" else "beamtime"}
            signed = client.post("/sign-in", json=account).raise_for_status().json()
            client.cookies.clear()
            client.headers["Authorization"] = f"Bearer {signed['token']}"
            yield client

    def processes(self, part: str) -> set[int]:
        """The numbers of all processes of one part, those that it forked too."""
        return {int(entry.name) for entry in Path("/proc").iterdir() if self._is_part(entry, part)}

    def _is_part(self, entry: Path, part: str) -> bool:
        if not entry.name.isdecimal():
            return False
        try:
            line = (entry / "cmdline").read_bytes().replace(b" ", b"\0")
            ours = str(self.folder).encode() in line + (entry / "environ").read_bytes()
        except OSError:
            return False
        words = line.split(b"\0")
        another = part == "gateway" and not {b"rdp", b"ssh", b"tunnels"}.isdisjoint(words)
        return ours and WORDS.get(part, part).encode() in words and b"-c" not in words[:2] and not another

    def kill(self, part: str, *, all_: bool = False) -> set[int]:
        """Kill the part's main processes with -9, or all of its processes; the numbers of all that it had."""
        there = self.processes(part)
        chosen = [pid for pid in there if all_ or _parent(pid) not in there]  # before any dies and its children move
        for pid in chosen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return there

    def wait_for_new(self, part: str, old: set[int]) -> None:
        """Wait until the part runs in processes that are not among these."""
        until(lambda: self.processes(part) - old, f"{part} to come back", 30)

    def wait_for_web(self) -> None:
        """Wait until the portal answers."""
        until(self._answers, "the portal to answer", 30)

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/sign-in", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _prepare(folder: Path, subnet: str, changes: Mapping[str, str]) -> Demo:
    """Write a demo's settings."""
    web, gateway, rdp, ssh = (free_port() for _ in range(4))
    deployment, state = f"test-{subnet.split('.')[2]}", folder / "var"
    ours = {
        '"127.0.0.1:8080"': f'"127.0.0.1:{web}"',
        "localhost:8080": f"localhost:{web}",
        '"127.0.0.1:6080"': f'"127.0.0.1:{gateway}"',
        "localhost:6080": f"localhost:{gateway}",
        '"127.0.0.1:3389"': f'"127.0.0.1:{rdp}"',
        '"127.0.0.1:2222"': f'"127.0.0.1:{ssh}"',
        'state_dir = "var"': f'state_dir = "{state}"',
        "var/run/": f"{state}/run/",
        'deployment = "demo"': f'deployment = "{deployment}"',
        "10.231.7.0/24": subnet,
        **changes,
    }
    for name in ("beamdesk.toml", "localcloud.toml"):
        text = (ROOT / name).read_text()
        for old, new in ours.items():
            text = text.replace(old, new)
        (folder / name).write_text(text)
    return Demo(f"http://localhost:{web}", f"127.0.0.1:{gateway}", folder, deployment)


@dataclass(frozen=True)
class Place:
    """Where a demo may be started: its settings and all that it keeps are in its folder, which goes in the end.

    The folder is none of pytest's, which are closed to the demo's own account as soon as another pytest starts.
    """

    demo: Demo
    subnet: str

    def start(self) -> subprocess.Popen[bytes]:
        """`beamdesk demo`, once it is ready."""
        log = self.demo.folder / "demo.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*ENDS_WITH_US, *COMMAND, "demo"], cwd=ROOT, env=self._environment(), stdout=output, stderr=output
            )
        until(lambda: b"is ready at" in log.read_bytes() or process.poll() is not None, "the demo", 120)
        assert process.poll() is None, log.read_text()
        return process

    def clean(self) -> None:
        """What `make clean` does."""
        subprocess.run([*COMMAND, "demo", "--clean"], cwd=ROOT, env=self._environment(), check=True, timeout=60)

    def cleaned(self) -> bool:
        """Whether that could be done: a demo that has not ended yet must end first."""
        try:
            self.clean()
        except subprocess.CalledProcessError:
            return False
        return True

    def has_machines(self) -> bool:
        """Whether anything of its network is there."""
        addresses = subprocess.run(["ip", "addr"], capture_output=True, text=True).stdout
        return self.subnet.rpartition(".")[0] + "." in addresses

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "BEAMDESK_CONFIG": str(self.demo.folder / "beamdesk.toml")}


@contextmanager
def place(subnet: str, changes: Mapping[str, str] | None = None, *, logs: Path | None = None) -> Iterator[Place]:
    """A place for a demo; `changes` are texts of its settings to replace. In the end its logs are copied to `logs`,
    and nothing of it may be left."""
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix="beamdesk-") as name, _held(Path(name)) as folder:
        folder.chmod(0o755)
        made = Place(_prepare(folder, subnet, changes or {}), subnet)
        try:
            yield made
        finally:
            if logs and (folder / "var/logs").exists():
                shutil.copytree(folder / "var/logs", logs)
            made.clean()
        assert not (folder / "var").exists()
        assert not made.has_machines()


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """The folder is in use for as long as this process lives."""
    with (folder / "being-held").open("w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        (folder / "being-held").rename(folder / HELD)
        yield folder


def _remove_abandoned() -> None:
    """Remove what is left of demos whose tests were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"beamdesk-*/{HELD}"):
        with suppress(FileNotFoundError, BlockingIOError), path.open() as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            abandoned = Place(Demo("", "", path.parent, ""), "")
            until(abandoned.cleaned, f"the demo in {path.parent} to end", 90, every=1)
            shutil.rmtree(path.parent)


@contextmanager
def running_demo(subnet: str, changes: Mapping[str, str] | None = None, *, logs: Path | None = None) -> Iterator[Demo]:
    """A demo in a place of its own, from its start to its end."""
    with place(subnet, changes, logs=logs) as here:
        process = here.start()
        try:
            yield here.demo
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)
