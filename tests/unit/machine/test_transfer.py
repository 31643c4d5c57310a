"""Files to and from a home, by the agent as it is started, with a real account's rights instead of root's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from agents.machine.state import Attached
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives up root, which needs root")
UID = 20001
AGENT = """
import sys
from pathlib import Path
from agents.machine import state, __main__ as start
state.STATE = Path(sys.argv.pop(1))
sys.exit(start.main())
"""


class Home:
    """A user's home, and the agent of the machine that has it."""

    def __init__(self, place: Path) -> None:
        self.path, self._state = place / "home", place / "session.json"
        self.path.mkdir()
        os.chown(self.path, UID, UID)
        attached = Attached("42", "alice", UID, str(self.path), "2099-01-01T00:00:00+00:00")
        self._state.write_text(json.dumps(asdict(attached)))

    def begin(self, verb: str) -> subprocess.Popen[bytes]:
        """The agent, which waits for its request."""
        line = [sys.executable, "-c", AGENT, str(self._state), verb]
        return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, verb: str, body: bytes = b"", **request: object) -> tuple[Any, bytes]:
        """The answer, or the code of the refusal, and what follows it."""
        said = self.begin(verb).communicate(json.dumps(request).encode() + b"\n" + body, timeout=20)[0]
        head, _, rest = said.partition(b"\n")
        answer = json.loads(head)
        return answer.get("error", {}).get("code", answer), rest

    def put(self, name: str, body: bytes, folder: str = "Desktop") -> Any:
        """Upload it."""
        return self("file-put", body, folder=folder, name=name, size=len(body))[0]


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="beamdesk-home-") as place:
        Path(place).chmod(0o711)  # another account's, as /home is
        yield Home(Path(place))


def test_a_file_comes_whole_and_belongs_to_the_user(home: Home) -> None:
    body = os.urandom(700_001)
    assert home.put("scan 1.µ.nxs", body) == {"name": "scan 1.µ.nxs", "size": len(body)}
    file = home.path / "Desktop/scan 1.µ.nxs"
    assert (file.read_bytes(), file.stat().st_uid, file.stat().st_mode & 0o777) == (body, UID, 0o644)
    assert home("file-get", folder="Desktop", name=file.name) == ({"name": file.name, "size": len(body)}, body)
    found, _ = home("file-list", folder="Desktop")
    assert (found["folders"], found["files"], found["more"]) == ([], {file.name: len(body)}, False)
    assert home("file-list", folder="")[0]["folders"] == ["Desktop"]


def test_a_name_that_is_taken_gets_a_number_and_nothing_is_replaced(home: Home) -> None:
    """By a file, a folder, or a link that leads elsewhere."""
    taken = home.path / "Desktop"
    for number, name in enumerate(["a.tar.gz", "a.tar.gz", "a.tar.gz", ".bashrc", ".bashrc", "plain", "plain"]):
        home.put(name, b"%d" % number)
    (taken / "folder").mkdir()
    (taken / "link").symlink_to("/etc/passwd")
    assert [home.put(name, b"x")["name"] for name in ("folder", "link")] == ["folder (2)", "link (2)"]
    names = {"a.tar (2).gz": "1", "a.tar (3).gz": "2", "a.tar.gz": "0", ".bashrc (2)": "4", "plain (2)": "6"}
    assert {name: (taken / name).read_text() for name in names} == names


PLACES = [
    ("file-get", "", "..", "bad-request"),
    ("file-get", "..", "session.json", "bad-request"),
    ("file-get", "Desktop/../..", "session.json", "bad-request"),
    ("file-get", "/etc", "passwd", "bad-request"),
    ("file-get", "", "a/../../session.json", "bad-request"),
    ("file-get", "", "a\nb", "bad-request"),
    ("file-get", "", "\udc80", "bad-request"),
    ("file-get", "", "é" * 121, "bad-request"),
    ("file-get", "", "link", "not-there"),
    ("file-get", "out", "passwd", "not-there"),
    ("file-get", "", "fifo", "not-there"),
    ("file-get", "", "zero", "not-there"),
    ("file-get", "", "socket", "not-there"),
    ("file-get", "", "inner", "not-there"),
    ("file-get", "", "nothing", "not-there"),
    ("file-get", "mine", "x", "not-there"),
    ("file-get", "", "roots", "not-allowed"),
    ("file-list", "out", None, "not-there"),
    ("file-list", "closed", None, "not-allowed"),
    ("file-put", "out", "x", "not-there"),
    ("file-put", "closed", "x", "not-allowed"),
    ("file-put", "missing", "x", "not-there"),
]


def test_no_path_leads_out_of_the_home_or_beyond_the_users_rights(home: Home) -> None:
    """Nor to what is no file: nothing waits for a FIFO's writer, and root's own files stay root's."""
    path = home.path
    (path / "link").symlink_to("/etc/passwd")
    (path / "out").symlink_to("/etc")
    os.mkfifo(path / "fifo")
    os.mknod(path / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    (path / "inner").mkdir()
    for closed in ("closed", "inner/x"):
        (path / closed).mkdir(mode=0o700)
    (path / "roots").write_text("secret")
    (path / "roots").chmod(0o600)
    (path / "mine").write_text("")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path / "socket"))
        for verb, folder, name, code in PLACES:
            request = {"folder": folder} | ({"name": name} if name is not None else {})
            request |= {"size": 0} if verb == "file-put" else {}  # type: ignore[dict-item]
            assert home(verb, **request)[0] == code, (verb, folder, name)
        listed = home("file-list", folder="")[0]
    assert (listed["folders"], set(listed["files"])) == (["closed", "inner"], {"mine", "roots"})


def test_nothing_of_a_file_stays_that_is_not_whole(home: Home) -> None:
    """Cut in the middle, killed, or larger than the room; what a kill left is gone a day later."""
    assert home("file-put", b"half", folder="Desktop", name="x", size=9)[0] == "cut-short"
    assert home("file-put", folder="Desktop", name="x", size=2**60)[0] == "no-space"
    assert list((home.path / "Desktop").iterdir()) == []
    killed = home.begin("file-put")
    assert killed.stdin is not None
    killed.stdin.write(json.dumps({"folder": "Desktop", "name": "x", "size": 9}).encode() + b"\nhalf")
    killed.stdin.flush()
    left = until(lambda: list((home.path / "Desktop").iterdir()), "the draft", 10)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert home("file-list", folder="Desktop")[0]["files"] == {}  # it is hidden
    os.utime(left[0], (0, 0))
    assert home.put("x", b"whole")["name"] == "x"
    assert [file.name for file in (home.path / "Desktop").iterdir()] == ["x"]


def test_a_disk_that_fills_up_on_the_way_is_said_in_words(home: Home) -> None:
    """Though there seemed to be room when it began."""
    disk = home.path / "Desktop"
    disk.mkdir()
    mounts = f'mount -t tmpfs -o size=1m tmpfs {disk} && chown {UID} {disk} && exec "$@"'
    deceived = f"from agents.machine import transfer; transfer._free = lambda _: 2**40\n{AGENT}"
    agent = [sys.executable, "-c", deceived, str(disk.parents[1] / "session.json"), "file-put"]
    request = json.dumps({"folder": "Desktop", "name": "x", "size": 2_000_000}).encode() + b"\n" + bytes(2_000_000)
    line = ["unshare", "--mount", "sh", "-c", mounts, "sh", *agent]
    done = subprocess.run(line, input=request, stdout=subprocess.PIPE, timeout=20)
    assert json.loads(done.stdout)["error"]["code"] == "no-space"
