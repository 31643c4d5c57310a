"""Many desktops through one gateway host: active ones for each of its cores, and 500 open at once by all three doors.

An active desktop is what a real Xtigervnc of 1600x900 sends of a terminal that scrolls and a plot that moves, in the
encodings that noVNC asks for: recorded first, then played to each viewer at its own pace, each begun at another
moment. Only the gateway's processes are counted: the machines' and the viewers' work is done elsewhere in real life.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from agents.machine import seat
from agents.protocol import RDP_DOOR, VNC_DOOR
from bench import machines, rdp
from bench.gateways import Way
from bench.machines import ECHO, ECHOED, SIZE
from bench.rows import Row, percentile, write
from broker import rfb
from tests.doors import doors
from tests.integration.gateways.lab import COMMAND, PASSWORD, Lab, Screen
from tests.integration.gateways.ssh_lab import SshLab
from tests.ports import free_port
from tests.servers import private_redis

MACHINE, DOOR = ("127.93.0.3", 5901), ("127.93.0.3", VNC_DOOR)
RDP_MACHINE = (rdp.MACHINE[0], RDP_DOOR)
ACTIVE, WATCHED, RECORDED = 50, 20, 10  # desktops; seconds; seconds
OPEN = {"browser": 250, "rdp": 150, "ssh": 100}
LEAST = 50  # active desktops for each core
ENCODINGS = (7, 16, 5, 2, 0, -24, -250, -223, -224, -308)  # tight first, quality 8 of 9, compression 6, sizes
ASK = struct.pack(">BBHHHH", 3, 1, 0, 0, *SIZE)
PLAY = b"P"

Trace = list[tuple[float, bytes]]  # when it was heard, in seconds, and what

PLOT = """
import math, tkinter
root = tkinter.Tk(); root.geometry("760x560+800+60")
canvas = tkinter.Canvas(root, bg="white"); canvas.pack(expand=True, fill="both")
line = canvas.create_line(0, 0, 1, 1, width=2, fill="#1f6feb")
def move(step):
    points = [(x, 280 + 200 * math.sin(x / 40 + step / 5) * math.cos(x / 130)) for x in range(0, 760, 4)]
    canvas.coords(line, *(each for point in points for each in point)); root.after(40, move, step + 1)
move(0); root.mainloop()
"""  # 25 pictures a second
SCROLL = "while :; do ps -eo pid,etime,args | cut -c-110 | while read -r line; do echo $line; sleep 0.05; done; done"


@contextmanager
def busy_desktop() -> Iterator[int]:
    """A real VNC server with a terminal that scrolls 20 lines a second and a plot that moves; its port."""
    port = free_port()
    Path("/tmp/.X11-unix").mkdir(mode=0o1777, exist_ok=True)
    reading, writing = os.pipe()
    command = ["Xtigervnc", "-displayfd", str(writing), "-rfbport", str(port), "-localhost"]
    command += ["-geometry", "{}x{}".format(*SIZE), "-depth", "24", "-nolisten", "tcp"]
    with ExitStack() as stack:
        secret = stack.enter_context(tempfile.NamedTemporaryFile())
        secret.write(seat._obscured(PASSWORD))
        secret.flush()
        command += ["-SecurityTypes", "VncAuth", "-PasswordFile", secret.name]
        server = stack.enter_context(subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL))
        stack.callback(server.terminate)
        os.close(writing)
        with os.fdopen(reading) as answer:
            screen = Screen(int(answer.readline()))
        stack.enter_context(screen.program("xterm", "-geometry", "120x50+10+60", "-e", "sh", "-c", SCROLL))
        stack.enter_context(screen.program(sys.executable, "-c", PLOT))
        yield port


def record() -> Trace:
    """What a viewer hears of such a desktop, once both programs are there."""
    with busy_desktop() as port, socket.create_connection(("127.0.0.1", port)) as viewer:
        rfb.sign_in(viewer, PASSWORD)
        rfb.initialise(viewer)
        viewer.sendall(struct.pack(f">BxH{len(ENCODINGS)}i", 2, len(ENCODINGS), *ENCODINGS))
        _heard(viewer, 2)
        return _heard(viewer, RECORDED)


def _heard(viewer: socket.socket, seconds: float) -> Trace:
    """What it says in so many seconds to one who asks 30 times a second."""
    began, heard, asked = time.monotonic(), [], -1.0
    while (moment := time.monotonic() - began) < seconds:
        if moment - asked >= 1 / 30:
            viewer.sendall(ASK)
            asked = moment
        if select.select([viewer], [], [], 1 / 60)[0]:
            heard.append((time.monotonic() - began, viewer.recv(1 << 20)))
    return heard


def machine(folder: str) -> None:
    """The machines' program, which plays what was recorded; it never returns."""
    trace = [(float(path.name), path.read_bytes()) for path in sorted(Path(folder).iterdir())]
    machines.serve(MACHINE, partial(_welcome, trace))


def _welcome(trace: Trace, viewer: socket.socket, number: int) -> None:
    machines.greet(viewer)
    while wish := viewer.recv(ECHOED):
        if wish[:1] == PLAY:
            _play(viewer, trace, number)
        viewer.sendall(wish)


def _play(viewer: socket.socket, trace: Trace, number: int) -> None:
    """Say what was recorded, again and again, at its pace, from a moment of its own on; hear what comes."""
    time.sleep(RECORDED * number * 0.618 % 1)
    viewer.sendall(struct.pack(">BxHHHHHi", 0, 1, 0, 0, *SIZE, 0))  # the head of a first picture
    began = time.monotonic()
    for turn in range(sys.maxsize):
        for moment, said in trace:
            time.sleep(max(0.0, began + turn * RECORDED + moment - time.monotonic()))
            viewer.sendall(said)
            while select.select([viewer], [], [], 0)[0]:
                if not viewer.recv(1 << 16):
                    return


class Viewers:
    """Viewers of active desktops: they take what comes, and ask for more each time. In a process of their own."""

    def __init__(self, ways: list[Way]) -> None:
        self._ways = {way.socket.fileno(): way for way in ways}
        self.heard = 0
        self._poll = select.epoll()
        for fileno, way in self._ways.items():
            way.say(PLAY)
            way.socket.setblocking(False)
            self._poll.register(fileno, select.EPOLLIN)

    def run(self, seconds: float) -> None:
        """Take and ask for so long."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            for fileno, _ in self._poll.poll(left):
                way = self._ways[fileno]
                size = len(way.socket.recv(1 << 20))
                assert size, "a desktop was closed"
                self.heard += size
                way.say(ASK)


def cpu(parent: int) -> float:
    """Seconds of CPU that the process and its children have taken."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ticks = 0
    for pid in (str(parent), *children):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def lab(section: str, *command: str, **caps: int) -> Iterator[Lab]:
    """A gateway of this kind, with room."""
    folder = Path(tempfile.mkdtemp(prefix="beamdesk-bench-"))
    with private_redis() as (url, redis):
        made = Lab(folder, url, command=(*COMMAND, *command), section=section, connections=1000, **caps)
        try:
            yield made
        finally:
            made.close()
            redis.terminate()
            shutil.rmtree(folder)


def active(trace: Trace) -> list[Row]:
    """Desktops for each core of the gateway's host, and what somebody feels meanwhile."""
    with lab("gateway") as made, ExitStack() as stack:
        ways = [Way(made.desk(address=MACHINE[0])()).greet(signs_in=False) for _ in range(ACTIVE + 1)]
        for way in ways:
            stack.callback(way.socket.close)
        feeling = ways.pop()
        viewers = Viewers(ways)
        viewers.run(2)  # the first pictures
        pid, before, viewers.heard = made.gateway.process.pid, cpu(made.gateway.process.pid), 0
        reader = threading.Thread(target=viewers.run, args=(WATCHED,))
        reader.start()
        echoes = list(_echoes(feeling, WATCHED - 1))
        reader.join()
        cores = (cpu(pid) - before) / WATCHED
    sent = sum(len(said) for _, said in trace) / RECORDED * ACTIVE * WATCHED
    rate, share = sent / WATCHED / ACTIVE / 1e3, viewers.heard / sent
    each = f"{len(trace) / RECORDED:.0f} pieces and {rate:.0f} kB a second each"
    note = f"at least {LEAST}; {each}, {share:.2f} of it heard"
    return [
        Row("active desktops for each core", ACTIVE / cores, "", met=ACTIVE / cores >= LEAST, note=note),
        Row("round trip beside them p95", 1000 * percentile(echoes, 0.95), "ms", note=f"{ACTIVE} active desktops"),
    ]


def _echoes(way: Way, seconds: float) -> Iterator[float]:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        way.say(ECHO.ljust(ECHOED))
        way.hear(ECHOED)
        yield time.perf_counter() - began
        time.sleep(0.02)


def at_once() -> list[Row]:
    """All doors of one host, with as many desktops open as OPEN says, each answering at the end."""
    began, free = time.monotonic(), _available()
    with ExitStack() as stack:
        browsers = stack.enter_context(lab("gateway"))
        files = stack.enter_context(lab("rdp", "rdp", connections_per_address=1000, connections_per_session=1000))
        url, _ = stack.enter_context(private_redis())
        shells = stack.enter_context(closing(SshLab(url, connections=1000, connections_per_session=1000, waiting=200)))
        tickets = rdp.many_tickets(files.desk(address=RDP_MACHINE[0]), OPEN["rdp"])
        clients = [rdp.opened(("127.0.0.1", files.gateway.port), ticket) for ticket in tickets]
        inside = _ssh(stack, shells)
        # the last ones: who answers no ping for a minute is let go
        viewers = [Way(browsers.desk(address=MACHINE[0])()).greet(signs_in=False) for _ in range(OPEN["browser"])]
        seconds, taken = time.monotonic() - began, free - _available()
        answers = sum(map(_answers, viewers)) + sum(map(_rdp_answers, clients)) + sum(map(_ssh_answers, inside))
        for each in (*(viewer.socket for viewer in viewers), *clients):
            each.close()
    everybody = sum(OPEN.values())
    ways = ", ".join(f"{number} {door}" for door, number in OPEN.items())
    memory = f"{taken / everybody:.1f} MB of the host each, the clients' own in it"
    note = f"{ways}; {memory}; open after {seconds:.0f} s"
    return [Row("desktops open at once that answer", answers, "", met=answers == everybody, note=note)]


def _ssh(stack: ExitStack, made: SshLab) -> list[subprocess.Popen[bytes]]:
    """OpenSSH clients in a machine, with a program there that answers."""
    file, running = made.visitor().file(), []
    line = ["ssh", "-T", "-F", str(file), "desktop", "echo in; exec cat"]
    for number in range(OPEN["ssh"]):
        client = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.callback(client.wait)
        stack.callback(client.kill)
        running.append(client)
        if number % 4 == 3:
            for each in running[-4:]:
                assert each.stdout is not None
                assert each.stdout.readline() == b"in\n"
    return running


def _answers(viewer: Way) -> bool:
    viewer.say(ECHO.ljust(ECHOED))
    return viewer.hear(ECHOED) == ECHO.ljust(ECHOED)


def _rdp_answers(client: socket.socket) -> bool:
    client.sendall(rdp.ECHO.ljust(ECHOED))
    return client.recv(ECHOED, socket.MSG_WAITALL) == rdp.ECHO.ljust(ECHOED)


def _ssh_answers(client: subprocess.Popen[bytes]) -> bool:
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(b"here\n")
    client.stdin.flush()
    return client.stdout.readline() == b"here\n"


def _available() -> float:
    """MB of the host's memory."""
    text = Path("/proc/meminfo").read_text()
    return int(text.split("MemAvailable:")[1].split()[0]) / 1024


@contextmanager
def played(trace: Trace) -> Iterator[None]:
    """The machines' programs of both kinds, behind their doors."""
    with tempfile.TemporaryDirectory(prefix="beamdesk-bench-") as folder, ExitStack() as stack:
        for moment, said in trace:
            (Path(folder) / f"{moment:09.5f}").write_bytes(said)
        stack.enter_context(machines.machine("bench.desktops", folder))
        stack.enter_context(machines.machine("bench.rdp"))
        stack.enter_context(doors((DOOR, MACHINE), (rdp.DOOR, rdp.MACHINE)))
        yield


def main() -> None:
    """Record, play, and open many."""
    trace = record()
    with played(trace):
        write(active(trace))
        write(at_once())
