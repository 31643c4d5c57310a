"""The machines of the gateways' benchmarks: programs of their own, which say just what is measured."""

from __future__ import annotations

import importlib
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from broker import rfb

SIZE = (1600, 900)
ECHO, ECHOED = b"E", 64  # what is said again, and how many bytes it has
PIECE = bytes(256 * 1024)


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs meanwhile."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.terminate()


@contextmanager
def machine(module: str, *about: str) -> Iterator[None]:
    """The module's machine in a process of its own, which listens: its `machine(*about)` says where, and does what."""
    with program(sys.executable, "-m", "bench.machines", module, *about) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield


def serve(address: tuple[str, int], welcome: Callable[[socket.socket, int], None]) -> None:
    """Do that with each who comes, who has this number; it never returns."""
    with socket.create_server(address, backlog=1000) as server:
        print("ready", flush=True)
        for number in range(sys.maxsize):
            threading.Thread(target=_one, args=(server.accept()[0], number, welcome), daemon=True).start()


def _one(client: socket.socket, number: int, welcome: Callable[[socket.socket, int], None]) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with client:
        welcome(client, number)


def greet(viewer: socket.socket) -> None:
    """What a desktop says first, whatever the password."""
    viewer.sendall(rfb.VERSION)
    rfb.exactly(viewer, 12)
    viewer.sendall(bytes([1, rfb.SECURITY_VNC]))
    rfb.exactly(viewer, 1)
    viewer.sendall(bytes(16))
    rfb.exactly(viewer, 16)
    viewer.sendall(bytes(4))
    rfb.exactly(viewer, 1)
    viewer.sendall(struct.pack(">HH16xI", *SIZE, 5) + b"bench")


def obey(client: socket.socket, megabytes: int, *, first: bytes = b"") -> None:
    """Say again what is to be echoed; to anything else so many MB, after `first`."""
    while wish := client.recv(ECHOED):
        if wish[:1] == ECHO:
            client.sendall(wish)
        else:
            client.sendall(first)
            for _ in range(megabytes * 1024 * 1024 // len(PIECE)):
                client.sendall(PIECE)


if __name__ == "__main__":
    importlib.import_module(sys.argv[1]).machine(*sys.argv[2:])
