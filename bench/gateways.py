"""The browsers' gateway beside direct TCP and beside websockify as its own program, all in the same run.

The machine is a program that greets as a VNC server does and then streams or echoes what it is asked for: a real
one would be slower than what is measured. The gateway reaches it by its door, in mutual TLS; the others go to it
without. Rounds of all three ways alternate, so that noise meets all of them.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agents.protocol import VNC_DOOR
from bench import machines, rdp
from bench.machines import ECHO, ECHOED, program
from bench.rows import Row, percentile, write
from broker import rfb
from tests.doors import doors
from tests.integration.gateways.lab import PASSWORD, Desk, Lab, free_port
from tests.integration.gateways.wire import Wire
from tests.servers import private_redis
from tests.waiting import until

MACHINE, DOOR = ("127.93.0.1", 5901), ("127.93.0.1", VNC_DOOR)
ROUNDS, MEGABYTES, ECHOES, OPEN, OPENINGS = 7, 256, 2000, 20, 30
PICTURE = struct.pack(">BxHHHHHi", 0, 1, 0, 0, 16384, 16384, 0)  # the head of an update; its pixels are the stream
STREAM = b"S"

Opener = Callable[[], "Way"]


def machine() -> None:
    """The machine's program; it never returns."""
    machines.serve(MACHINE, _welcome)


def _welcome(viewer: socket.socket, _: int) -> None:
    machines.greet(viewer)
    machines.obey(viewer, MEGABYTES, first=PICTURE)


class Way:
    """A connection to the machine: `say` and `hear` bytes over plain TCP, or over a WebSocket."""

    def __init__(self, connection: Wire | socket.socket) -> None:
        self.wire = connection if isinstance(connection, Wire) else None
        self.socket = connection.socket if isinstance(connection, Wire) else connection
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = 0  # of the frame that is being read

    def say(self, data: bytes) -> None:
        """One message."""
        self.wire.send(data) if self.wire else self.socket.sendall(data)

    def hear(self, size: int) -> bytes:
        """So many bytes."""
        return self.wire.exactly(size) if self.wire else rfb.exactly(self.socket, size)

    def swallow(self, size: int) -> None:
        """So many bytes, which nobody looks at: the reading must not be what is measured."""
        buffer = bytearray(1024 * 1024)
        while size:
            if self.wire and not self._left:
                self._left = self._frame()
            most = min(size, len(buffer), self._left or size)
            got = self.socket.recv_into(buffer, most)
            size -= got
            self._left -= got if self.wire else 0

    def _frame(self) -> int:
        kind, size = rfb.exactly(self.socket, 2)
        assert kind == 0x82, kind
        if size < 126:
            return size
        return int.from_bytes(rfb.exactly(self.socket, 2 if size == 126 else 8))

    def greet(self, *, signs_in: bool) -> Way:
        """The RFB handshake; `signs_in` where the machine's password is asked for."""
        self.hear(12)
        self.say(rfb.VERSION)
        security = self.hear(2)[1:]
        self.say(security)
        if signs_in:
            self.say(rfb.vnc_response(PASSWORD, self.hear(16)))
        self.hear(4)
        self.say(b"\1")
        self.hear(24 + 5)
        return self


def throughput(way: Way) -> float:
    """MB/s from the machine."""
    began = time.perf_counter()
    way.say(STREAM)
    way.swallow(len(PICTURE) + MEGABYTES * 1024 * 1024)
    return MEGABYTES / (time.perf_counter() - began)


def round_trip(way: Way) -> float:
    """The median of the times for a few bytes to the machine and back, in microseconds."""
    message, took = ECHO.ljust(ECHOED), []
    for _ in range(ECHOES):
        began = time.perf_counter()
        way.say(message)
        way.hear(ECHOED)
        took.append(time.perf_counter() - began)
    return 1e6 * percentile(took, 0.5)


def memory(parent: int) -> float:
    """The mean PSS of this process's youngest children, one for each open connection, in MB."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[-OPEN:]
    rollups = (Path(f"/proc/{child}/smaps_rollup").read_text() for child in children)
    return statistics.mean(int(text.split("Pss:")[1].split()[0]) for text in rollups) / 1024


def opening(open_: Opener) -> float:
    """The median time from the wish (a ticket, where one is needed) to the end of the handshake, in ms."""
    took = []
    for _ in range(OPENINGS):
        began = time.perf_counter()
        way = open_()
        took.append(time.perf_counter() - began)
        way.socket.close()
    return 1000 * percentile(took, 0.5)


@contextmanager
def peer() -> Iterator[tuple[str, int]]:
    """Plain websockify before the machine: its address and its process."""
    address = f"127.0.0.1:{free_port()}"
    command = str(Path(sys.executable).with_name("websockify"))
    with program(command, address, f"{MACHINE[0]}:{MACHINE[1]}") as started:
        with socket.socket() as probe:
            until(lambda: probe.connect_ex(("127.0.0.1", int(address.rsplit(":")[1]))) == 0, "websockify")
        yield address, started.pid


@contextmanager
def gateway() -> Iterator[tuple[Desk, int]]:
    """The gateway before the machine: a session, and its process."""
    folder = Path(tempfile.mkdtemp(prefix="beamdesk-bench-"))
    with private_redis() as (url, redis):
        lab = Lab(folder, url, connections_per_session=OPEN + OPENINGS + 10)
        try:
            yield lab.desk(address=MACHINE[0]), lab.gateway.process.pid
        finally:
            lab.close()
            redis.terminate()
            shutil.rmtree(folder)


def measure(desk: Desk, gateway_pid: int, address: str, peer_pid: int) -> list[Row]:
    """All rows."""
    ways: dict[str, Opener] = {
        "direct": lambda: Way(socket.create_connection(MACHINE, 20)).greet(signs_in=True),
        "gateway": lambda: Way(desk()).greet(signs_in=False),
        "websockify": lambda: Way(Wire(address, "/", {})).greet(signs_in=True),
    }
    fast: dict[str, list[float]] = {name: [] for name in ways}
    soon: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, open_ in ways.items():
            way = open_()
            fast[name].append(throughput(way))
            soon[name].append(round_trip(way))
            way.socket.close()
    rate = {name: statistics.median(values) for name, values in fast.items()}
    trip = {name: statistics.median(values) for name, values in soon.items()}
    took = {name: opening(ways[name]) for name in ("gateway", "websockify")}
    held = {}
    for name, pid in (("gateway", gateway_pid), ("websockify", peer_pid)):
        with ExitStack() as stack:
            for _ in range(OPEN):
                stack.enter_context(ways[name]().socket)
            held[name] = memory(pid)
    return [
        beside("gateway throughput", rate, "MB/s"),
        beside("gateway round trip p50", trip, "us"),
        beside("gateway opening p50", took, "ms", "ticket, sign-in and both handshakes; the peer asks nobody"),
        beside("gateway memory per desktop", held, "MB", f"PSS of its process, {OPEN} open"),
    ]


def beside(name: str, values: dict[str, float], unit: str, note: str = "") -> Row:
    """The row of this figure, beside direct TCP's where that has one, else beside the peer's."""
    peer = "direct" if "direct" in values else "websockify"
    if peer == "direct":
        note = f"websockify: {values['websockify'] / values['direct']:.2f} x direct ({values['websockify']:.3f})"
    ratio = values["gateway"] / values[peer]
    return Row(name, values["gateway"], unit, peer=peer, peer_value=values[peer], ratio=ratio, note=note)


def main() -> None:
    """The three ways, one after the other, again and again."""
    with (
        machines.machine("bench.gateways"),
        doors((DOOR, MACHINE)),
        gateway() as (desk, pid),
        peer() as (address, peer_pid),
    ):
        write(measure(desk, pid, address, peer_pid))
    write(rdp.rows())
