"""The RDP gateway beside direct TCP, HAProxy and nginx, all in the same run.

The machine is a program that answers a client's first packet and then streams or echoes what it is asked for. The
gateway and its peers reach it by its door, in the same mutual TLS; direct is without. The peers join whoever comes to
it, and ask nobody; the gateway redeems a ticket first. Rounds of all ways alternate, so that noise meets all of them.
A peer that is not installed is left out: `apt-get install haproxy nginx-core libnginx-mod-stream`.
"""

from __future__ import annotations

import math
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from agents.protocol import RDP_DOOR
from bench import machines
from bench.machines import ECHO, ECHOED, program
from bench.rows import Row, percentile
from broker.configuration import desktop_ca
from broker.connections import tickets
from broker.connections.models import Way
from tests.doors import doors, shared
from tests.integration.gateways.lab import COMMAND, Desk, Lab
from tests.integration.gateways.rdp_peers import first_packet, packet
from tests.ports import free_port
from tests.servers import private_redis
from tests.waiting import until

MACHINE, DOOR = ("127.93.0.2", 3389), ("127.93.0.2", RDP_DOOR)
ROUNDS, MEGABYTES, ECHOES, OPEN, OPENINGS, AT_ONCE = 9, 512, 2000, 40, 200, 4
ANSWER = packet(0xD0, b"\x02\x00\x08\x00\x01\x00\x00\x00")
STREAM = b"S"

HAPROXY = """
global
    maxconn 4000
defaults
    mode tcp
    option splice-auto
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen rdp
    bind 127.0.0.1:{port}
    server machine {door} ssl crt {login} ca-file {authorities} verify required verifyhost light-1 ssl-min-ver TLSv1.3
"""
NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_processes auto;
events {{ worker_connections 4000; }}
stream {{ server {{
    listen 127.0.0.1:{port};
    proxy_pass {door};
    proxy_ssl on;
    proxy_ssl_protocols TLSv1.3;
    proxy_ssl_certificate {login};
    proxy_ssl_certificate_key {login};
    proxy_ssl_trusted_certificate {authorities};
    proxy_ssl_verify on;
    proxy_ssl_name light-1;
}} }}
"""

Opener = Callable[[], socket.socket]


def machine() -> None:
    """The machine's program; it never returns."""
    machines.serve(MACHINE, _welcome)


def _welcome(client: socket.socket, _: int) -> None:
    client.recv(1000)
    client.sendall(ANSWER)
    machines.obey(client, MEGABYTES)


def opened(address: tuple[str, int], ticket: str = "x" * 32) -> socket.socket:
    """A connection whose first packet was answered."""
    client = socket.create_connection(address, 20)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(first_packet(ticket))
    assert client.recv(100) == ANSWER
    return client


def throughput(open_: Opener) -> float:
    """MB/s from the machine."""
    buffer, left = bytearray(1024 * 1024), MEGABYTES * 1024 * 1024
    with open_() as client:
        began = time.perf_counter()
        client.sendall(STREAM)
        while left:
            left -= client.recv_into(buffer)
        return MEGABYTES / (time.perf_counter() - began)


def round_trip(open_: Opener) -> float:
    """The median of the times for a few bytes to the machine and back, in microseconds."""
    message, took = ECHO.ljust(ECHOED), []
    with open_() as client:
        for _ in range(ECHOES):
            began = time.perf_counter()
            client.sendall(message)
            client.recv(ECHOED, socket.MSG_WAITALL)
            took.append(time.perf_counter() - began)
    return 1e6 * percentile(took, 0.5)


def openings(open_: Opener) -> float:
    """How many connections a second come as far as the machine's answer, some at a time."""
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for client in threads.map(lambda _: open_(), range(OPENINGS)):
            client.close()
    return OPENINGS / (time.perf_counter() - began)


def memory(open_: Opener, parent: int) -> float:
    """What one more open connection costs all processes of this parent, in MB of PSS."""
    before = _pss(parent)
    with ExitStack() as stack:
        for _ in range(OPEN):
            stack.enter_context(open_())
        return (_pss(parent) - before) / OPEN


def _pss(parent: int) -> float:
    return sum(map(_pss_of, _family(parent))) / 1024


def _family(parent: int) -> Iterator[int]:
    """This process and all that descend from it."""
    yield parent
    with suppress(OSError):  # it has just ended
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            yield from _family(int(child))


def _pss_of(pid: int) -> int:
    """In kB; 0 where it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


@contextmanager
def peers() -> Iterator[dict[str, tuple[Opener, int]]]:
    """Those that are installed, each before the machine: how to open a connection through it, and its process."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beamdesk-bench-")))
        (folder / "authorities.pem").write_text(desktop_ca.trusted(shared()))
        shown = {"login": desktop_ca.gateway_login(shared()), "authorities": folder / "authorities.pem"}
        found = {}
        for name, config, flag in (("haproxy", HAPROXY, "-f"), ("nginx", NGINX, "-c")):
            path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
            if path is None:
                continue
            address = ("127.0.0.1", free_port())
            text = config.format(port=address[1], door=f"{DOOR[0]}:{DOOR[1]}", folder=folder, **shown)
            (folder / name).write_text(text)
            started = stack.enter_context(program(path, flag, str(folder / name)))
            with socket.socket() as probe:
                until(lambda probe=probe, address=address: probe.connect_ex(address) == 0, name)
            found[name] = (lambda address=address: opened(address), started.pid)
        yield found


@contextmanager
def gateway() -> Iterator[tuple[Opener, int]]:
    """The gateway before the machine, likewise. Tickets are made ahead: they are the portal's work."""
    folder = Path(tempfile.mkdtemp(prefix="beamdesk-bench-"))
    with private_redis() as (url, redis):
        caps = dict.fromkeys(("connections_per_session", "connections_per_address"), 1000)
        lab = Lab(folder, url, command=(*COMMAND, "rdp"), section="rdp", **caps)
        try:
            made = many_tickets(lab.desk(address=MACHINE[0]), 2 * ROUNDS + OPENINGS + OPEN + 10)
            yield lambda: opened(("127.0.0.1", lab.gateway.port), made.pop()), lab.gateway.process.pid
        finally:
            lab.close()
            redis.terminate()
            shutil.rmtree(folder)


def many_tickets(desk: Desk, number: int) -> list[str]:
    """So many tickets of one session."""
    with desk.lab.runtime.database.transaction() as db:
        return [tickets.issue(db, desk.session_id, desk.person, 3600, Way.RDP) for _ in range(number)]


def measure(ways: dict[str, tuple[Opener, int]]) -> list[Row]:
    """All rows."""
    fast: dict[str, list[float]] = {name: [] for name in ways}
    soon: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (open_, _pid) in ways.items():
            fast[name].append(throughput(open_))
            soon[name].append(round_trip(open_))
    rate = {name: statistics.median(values) for name, values in fast.items()}
    trip = {name: statistics.median(values) for name, values in soon.items()}
    often = {name: openings(open_) for name, (open_, _pid) in ways.items()}
    held = {name: memory(open_, pid) for name, (open_, pid) in ways.items() if pid}
    return [
        beside("rdp throughput", rate, "MB/s", at_least=0.9),
        beside("rdp round trip p50", trip, "us", at_most=1.11),
        beside("rdp openings a second", often, "/s", at_least=0.9, note=f"{AT_ONCE} at once; a ticket each"),
        beside("rdp memory per connection", held, "MB", note=f"PSS of all processes, {OPEN} open"),
    ]


def beside(
    name: str,
    values: dict[str, float],
    unit: str,
    *,
    at_least: float = 0,
    at_most: float = math.inf,
    note: str = "",
) -> Row:
    """The row of this figure, beside HAProxy's, or direct TCP's where that is not here; the others in the note. What
    `at_least` and `at_most` bound is the ratio."""
    peer = "haproxy" if "haproxy" in values else "direct"
    others = ", ".join(f"{other} {value:.3f}" for other, value in values.items() if other not in ("gateway", peer))
    ratio = values["gateway"] / values[peer] if peer in values else None
    bounds = [f"at least {at_least} x {peer}"] * bool(at_least) + [f"at most {at_most} x {peer}"] * (at_most < math.inf)
    met = at_least <= ratio <= at_most if bounds and ratio is not None else None
    note = "; ".join(filter(None, (others, note, *bounds)))
    return Row(name, values["gateway"], unit, peer=peer, peer_value=values.get(peer), ratio=ratio, met=met, note=note)


def rows() -> list[Row]:
    """All ways, one after the other, again and again."""
    with machines.machine("bench.rdp"), doors((DOOR, MACHINE)), gateway() as here, peers() as others:
        return measure({"direct": (lambda: opened(MACHINE), 0), "gateway": here, **others})
