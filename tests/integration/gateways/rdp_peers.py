"""Both peers of the RDP gateway, bare: they can be wrong, slow and rude, as no real client lets one be."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PORT = 3389
MACHINE = f"127.94.{os.getpid() // 256 % 256}.{os.getpid() % 256}"
NEIGHBOUR = MACHINE.replace("127.94.", "127.95.")
TLS, TLS_OR_CREDSSP = 1, 3
CHOSEN, REFUSED = 2, 3


def packet(kind: int, body: bytes) -> bytes:
    """An X.224 packet with this body."""
    return struct.pack(">BBHBB5x", 3, 0, 11 + len(body), 6 + len(body), kind) + body


def first_packet(ticket: str, protocols: int = TLS) -> bytes:
    """What a client sends that has opened a file with this ticket."""
    return packet(0xE0, f"Cookie: msts={ticket}\r\n".encode() + struct.pack("<BBHI", 1, 0, 8, protocols))


class Machine:
    """A machine's RDP server as far as its first answer; then it echoes, in TLS where it has a certificate."""

    def __init__(self, answer: bytes, tls: ssl.SSLContext | None, address: tuple[str, int]) -> None:
        self.visits = 0
        self.heard: list[bytes] = []
        self._answer, self._tls = answer, tls
        self._visitors: list[socket.socket] = []
        self._server = socket.create_server(address, backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                visitor = self._server.accept()[0]
                self.visits += 1
                self._visitors.append(visitor)
                threading.Thread(target=self._serve, args=(visitor,), daemon=True).start()

    def _serve(self, visitor: socket.socket) -> None:
        with suppress(OSError), visitor:
            self.heard.append(visitor.recv(1000))
            if not self._answer:
                visitor.recv(1)  # for ever
            visitor.sendall(self._answer)
            if self._tls:
                visitor = self._tls.wrap_socket(visitor, server_side=True)
            with visitor:
                while piece := visitor.recv(1 << 16):
                    visitor.sendall(piece)

    def hang_up(self) -> None:
        """Leave everybody who is there."""
        for visitor in self._visitors:
            visitor.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let nobody more in."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@contextmanager
def machine(
    answer: bytes | None = None, *, tls: ssl.SSLContext | None = None, address: str = MACHINE, port: int = PORT
) -> Iterator[Machine]:
    """A machine that answers so; by default, that it chose TLS."""
    chose_tls = packet(0xD0, struct.pack("<BBHI", CHOSEN, 0, 8, TLS))
    made = Machine(chose_tls if answer is None else answer, tls, (address, port))
    try:
        yield made
    finally:
        made.close()


class Client:
    """A client that has sent `first`; `chosen` is what it was told: a kind of answer, and a number."""

    def __init__(self, port: int, first: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        with suppress(ConnectionError):  # it was hung up on in the middle
            self.socket.sendall(first)

    @property
    def chosen(self) -> tuple[int, int] | None:
        """The answer; None where the connection was closed without one."""
        answer = b""
        with suppress(ConnectionResetError):
            while len(answer) < 19 and (piece := self.socket.recv(19 - len(answer))):
                answer += piece
        if not answer:
            return None
        kind, _, _, value = struct.unpack("<BBHI", answer[11:])
        return kind, value

    def echoes(self, data: bytes = b"anybody there?") -> bool:
        """Whether the machine is at the other end."""
        try:
            self.socket.sendall(data)
            heard = b""
            while len(heard) < len(data) and (piece := self.socket.recv(len(data))):
                heard += piece
        except OSError:
            return False
        return heard == data

    def is_closed(self) -> bool:
        """Whether the other side has closed the connection."""
        try:
            return self.socket.recv(1) == b""
        except OSError as error:
            return not isinstance(error, TimeoutError)
