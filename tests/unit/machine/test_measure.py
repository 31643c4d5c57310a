"""Input and load, measured on real things: a real display with a real viewer, terminals, and busy processes."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from agents.machine import measure, watch, x11
from agents.machine.seat import Seat
from broker import rfb
from tests.ports import free_port
from tests.waiting import until

UID = 61733 if os.geteuid() == 0 else os.getuid()  # nobody's, where we may choose


@contextmanager
def vnc_display(folder: Path) -> Iterator[tuple[int, bytes, int]]:
    """A real Xvnc: display number, cookie and VNC port."""
    cookie, port = os.urandom(16), free_port()
    (folder / "xauthority").write_bytes(x11.authority(cookie))
    told, tell = os.pipe()
    line = ["Xtigervnc", "-displayfd", str(tell), "-auth", str(folder / "xauthority"), "-nolisten", "tcp"]
    line += [
        "-rfbport",
        str(port),
        "-localhost",
        "-SecurityTypes",
        "VncAuth",
        "-PasswordFile",
        str(folder / "password"),
    ]
    (folder / "password").write_bytes(bytes.fromhex("dbd83cfd727a1458"))  # "password", as vncpasswd obscures it
    server = subprocess.Popen([*line, "-geometry", "320x240"], pass_fds=[tell], stderr=subprocess.DEVNULL)
    os.close(tell)
    try:
        with os.fdopen(told) as number:
            yield int(number.readline()), cookie, port
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def seat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
    """A seat whose display is up; its VNC port stands in `geometry`."""
    with vnc_display(tmp_path) as (number, cookie, port):
        monkeypatch.setattr(Seat, "folder", tmp_path)
        monkeypatch.setattr(Seat, "open_display", lambda _: x11.Display(number, cookie))
        yield Seat("session", number, UID, "alice", "/", str(port), rdp=True)


def viewer(seat: Seat) -> socket.socket:
    """A viewer who is signed in."""
    connection = socket.create_connection(("127.0.0.1", int(seat.geometry)))
    rfb.sign_in(connection, "password")
    rfb.initialise(connection)
    return connection


def age(seat: Seat) -> float:
    found = measure.input_age(seat)
    assert found is not None
    return found


def test_a_viewer_who_only_looks_is_no_input_and_one_who_types_or_points_is(seat: Seat) -> None:
    """A forgotten browser tab does not hold a machine; a key or a move of the mouse does."""
    until(lambda: age(seat) > 0.3, "the display to be still", 10)
    with viewer(seat) as looking:
        looking.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, 320, 240))  # asks for a picture, as an open tab does
        assert rfb.exactly(looking, 1) == b"\0"
        assert age(seat) > 0.3
        looking.sendall(struct.pack(">BBxxI", 4, 1, ord("a")))
        until(lambda: age(seat) < 0.2, "the key to count", 10)
        until(lambda: age(seat) > 0.3, "the display to be still again", 10)
        looking.sendall(struct.pack(">BBHH", 5, 0, 100, 100))
        until(lambda: age(seat) < 0.2, "the move to count", 10)
    until(lambda: age(seat) > 0.3, "the display to be still after the viewer left", 10)


def test_a_key_in_a_terminal_counts_and_what_is_printed_there_does_not(
    seat: Seat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An SSH session's keystrokes: the terminal's own clock of what was read from it."""
    terminals = tmp_path / "pts"
    terminals.mkdir()
    monkeypatch.setattr(measure, "_TERMINALS", terminals)
    old = time.time() - 500
    for name, owner, read in (("0", UID, old), ("1", UID + 1, time.time() + 500)):
        (terminals / name).touch()
        os.utime(terminals / name, (read, time.time()))
        if os.geteuid() == 0:
            os.chown(terminals / name, owner, -1)
    until(lambda: age(seat) > 1.0, "the display to be still", 10)
    if os.geteuid() == 0:
        assert age(seat) > 1.0, "another account's terminal, and what was printed on ours"
    os.utime(terminals / "0", (time.time(), old))
    assert age(seat) < 1.0


def test_a_display_that_is_gone_is_not_known_to_be_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed of it."""
    monkeypatch.setattr(Seat, "folder", tmp_path)
    seat = Seat("session", 61733, UID, "alice", "/", "", rdp=True)
    (tmp_path / "xauthority").write_bytes(bytes(16))
    assert measure.input_age(seat) is None
    watch.look(seat)
    assert watch.idle_seconds(seat, watch.read(seat)) is None


def test_a_busy_process_and_its_ended_children_count_as_cpu() -> None:
    """Of this account, and of no other."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print(flush=True); input()"
    before, _ = measure.usage(UID)
    elsewhere, _ = measure.usage(UID + 1)
    with as_user(script) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert measure.usage(UID)[0] - before >= 0.29
        assert measure.usage(UID + 1)[0] - elsewhere < 0.2


@pytest.mark.parametrize(("name", "counts"), [("rsync", True), ("parec", False), ("gst-launch-1.0", False)])
def test_a_transfer_counts_by_its_bytes_and_what_is_sent_to_a_listener_does_not(name: str, counts: bool) -> None:
    """Read and written, by the process that moves them."""
    script = (
        f"open('/proc/self/comm', 'w').write('{name}')\n"
        "open('/dev/null', 'wb', 0).write(bytes(50_000_000)); print(flush=True); input()"
    )
    _, before = measure.usage(UID)
    with as_user(script) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert (measure.usage(UID)[1] - before >= 50_000_000) == counts


@contextmanager
def as_user(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python of the user's that runs the script; it is killed at the end."""
    who = {"user": UID, "group": UID, "extra_groups": []} if os.geteuid() == 0 else {}
    line = ["/usr/bin/python3", "-IS", "-c", script]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", **who)  # type: ignore[call-overload]
    with ExitStack() as stack:
        stack.enter_context(closing(process.stdin))
        stack.enter_context(closing(process.stdout))
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield process


def test_the_record_outlives_its_keeper_and_grows_old_without_one(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that is restarted goes on where the last one was; a record that nobody keeps is not trusted."""
    watch.look(seat)
    first = watch.read(seat)
    assert first is not None
    assert (first.sign, first.work) == ("its start", ())
    watch.look(seat)
    assert watch.read(seat) == first, "a second look at once says no more"
    idle = watch.idle_seconds(seat, first)
    assert idle is not None
    assert 0 <= idle < 30
    later = time.monotonic() + 61
    monkeypatch.setattr(watch.time, "monotonic", lambda: later)
    assert watch.idle_seconds(seat, first) is None
    (seat.folder / "activity.json").write_text('{"active_at": 1')
    assert watch.read(seat) is None


def test_the_gpus_are_read_as_their_drivers_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi's answer on a node of four, with one that is split up; amdgpu's file."""
    assert measure.parse_nvidia("0\n97\n3\n[N/A]\n") == [0, 97, 3]
    assert measure.parse_nvidia("") == []
    assert measure.parse_nvidia("Failed to initialize NVML: Driver/library version mismatch\n") == []
    monkeypatch.setattr(measure, "_GRAPHICS", tmp_path)
    monkeypatch.setattr(measure, "_NVIDIA", ("no-such-program",))
    assert measure.gpu_percent() is None
    (tmp_path / "card1/device").mkdir(parents=True)
    (tmp_path / "card1/device/gpu_busy_percent").write_text("42\n")
    assert measure.gpu_percent() == 42
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '7\\n55\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setattr(measure, "_NVIDIA", (str(smi),))
    assert measure.gpu_percent() == 55
