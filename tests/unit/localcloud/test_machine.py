"""What a machine may send, and what of the host's files it gets: decided without making one."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from agents.localcloud.cloud import names
from agents.localcloud.inside import _copy_public
from agents.localcloud.machine import NOTHING_BEGUN, ONLY_ANSWERS, birth, link_of, only_answers_and

SYN, ACK, RST = 0x02, 0x10, 0x04
IP, ARP, IP6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP = 1, 6, 17
PASS, DROP = 0, 2
SO_ATTACH_FILTER = 26


def filtered(frame: bytes, lines: list[str] = ONLY_ANSWERS) -> int:
    """What the filter answers, asked of the kernel: put on a socket, it lets through so many bytes as it answers."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *map(int, line.split())) for line in lines))
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        described = struct.pack("HP", len(lines), ctypes.addressof(program))
        receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
        sender.send(frame)
        with suppress(BlockingIOError):
            return len(receiver.recv(len(frame), socket.MSG_DONTWAIT))
    return 0


def frame(kind: int, protocol: int = 0, flags: int = 0, options: int = 0, to: str = "0.0.0.0:0") -> bytes:
    """An Ethernet frame; `options` are words of the IPv4 header."""
    host, _, port = to.partition(":")
    header = bytes([0x45 + options, *[0] * 8, protocol, *[0] * 6]) + socket.inet_aton(host) + bytes(4 * options)
    return (
        bytes(12) + kind.to_bytes(2) + header + bytes(2) + int(port).to_bytes(2) + bytes(9) + bytes([flags]) + bytes(20)
    )


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (frame(ARP), PASS),
        (frame(IP, ICMP), PASS),
        (frame(IP, TCP, SYN | ACK), PASS),
        (frame(IP, TCP, ACK), PASS),
        (frame(IP, TCP, RST), PASS),
        (frame(IP, TCP, SYN | ACK, options=3), PASS),
        (frame(IP, TCP, SYN), DROP),
        (frame(IP, TCP, SYN, options=10), DROP),
        (frame(IP, TCP, SYN | RST), DROP),
        (frame(IP, UDP, ACK), DROP),
        (frame(IP6, TCP, ACK), DROP),
        (frame(0x8100, TCP, ACK), DROP),
    ],
)
def test_a_machine_answers_and_begins_nothing(sent: bytes, verdict: int) -> None:
    assert filtered(sent) == verdict


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (frame(IP, TCP, SYN, to="10.0.0.1:2200"), PASS),
        (frame(IP, TCP, SYN, options=5, to="10.0.0.1:2200"), PASS),
        (frame(IP, TCP, SYN, to="10.0.0.2:2200"), DROP),
        (frame(IP, TCP, SYN, to="10.0.0.1:22"), DROP),
        (frame(IP, UDP, SYN, to="10.0.0.1:2200"), DROP),
        (frame(IP6, TCP, SYN, to="10.0.0.1:2200"), DROP),
        (frame(IP, TCP, ACK, to="10.0.0.2:22"), PASS),
        (frame(IP, ICMP), PASS),
        (frame(ARP), PASS),
    ],
)
def test_a_machine_that_dials_begins_that_and_nothing_else(sent: bytes, verdict: int) -> None:
    assert filtered(sent, only_answers_and("10.0.0.1:2200")) == verdict


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (frame(IP, TCP, SYN), DROP),
        (frame(IP, TCP, SYN, options=10), DROP),
        (frame(IP, TCP, SYN | ACK), PASS),
        (frame(IP, TCP, ACK), PASS),
        (frame(IP, ICMP), PASS),
        (frame(ARP), PASS),
    ],
)
def test_nobody_begins_a_connection_to_a_machine_that_dials(sent: bytes, verdict: int) -> None:
    assert filtered(sent, NOTHING_BEGUN) == verdict


def test_only_what_everybody_may_read_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "etc"
    (source / "private").mkdir(parents=True, mode=0o700)
    (source / "public").mkdir(mode=0o755)
    for name, mode in {"private/open": 0o644, "public/open": 0o644, "public/run": 0o755, "public/key": 0o640}.items():
        (source / name).write_text(name)
        (source / name).chmod(mode)
    (source / "public/link").symlink_to("../private/open")
    os.mkfifo(source / "pipe", 0o666)
    (source / "group.lock").write_text("1")
    _copy_public(source, tmp_path / "copy")
    copied = {str(path.relative_to(tmp_path / "copy")): path.lstat() for path in (tmp_path / "copy").rglob("*")}
    assert copied.keys() == {"public", "public/open", "public/run", "public/link"}
    for name, state in copied.items():
        same = (source / name).lstat()
        assert (state.st_mode, state.st_uid, state.st_gid) == (same.st_mode, same.st_uid, same.st_gid)
    assert os.readlink(tmp_path / "copy/public/link") == "../private/open"


def test_what_vanishes_during_the_copy_is_left_out(tmp_path: Path) -> None:
    """The host's accounts are being changed: files come and go, and the machine starts all the same."""
    source = tmp_path / "etc"
    source.mkdir()
    (source / "passwd").write_text("root")
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            for number in range(50):
                (source / f"draft{number}").touch()
            for number in range(50):
                (source / f"draft{number}").unlink()

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for number in range(100):
            _copy_public(source, tmp_path / str(number))
            assert (tmp_path / str(number) / "passwd").read_text() == "root"
    finally:
        over.set()
        changing.join()


def test_each_state_directory_has_names_of_its_own_that_the_kernel_takes() -> None:
    (family, bridge), (other_family, other_bridge) = names(Path("/var/lib/a")), names(Path("/var/lib/b"))
    assert family != other_family
    assert bridge != other_bridge
    link = link_of(bridge, "n-0123456789ab")
    assert len(link) <= 15
    assert link.startswith(bridge)


def test_a_process_is_known_by_its_birth() -> None:
    ours = birth(os.getpid())
    assert ours is not None
    assert ours == birth(os.getpid())
    assert birth(1) != ours
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert birth(child.pid) is None, "a zombie is no living process"
    assert birth(child.pid) is None
