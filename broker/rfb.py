"""The little of RFB (RFC 6143, the VNC protocol) that the broker itself speaks.

The gateway signs in to machines so that no browser ever holds a desktop's password; the probe looks at a frame
as a viewer would.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from broker.errors import MachineFault

VERSION = b"RFB 003.008\n"
SECURITY_NONE, SECURITY_VNC = 1, 2
FRAMEBUFFER_UPDATE = 0
_LARGEST_NAME = 4096
_LARGEST_FRAME = 64 * 1024 * 1024  # a screen of 5120x2880 has 59 MB
_PIECE = 1 << 16


class RfbRefused(MachineFault):
    """Raised when the machine's VNC server does not let us in or does not speak as RFC 6143 says."""

    code = "rfb-refused"


@dataclass(frozen=True)
class Frame:
    """One whole picture: `pixels` are rows of 4 bytes each, blue, green, red and one unused."""

    width: int
    height: int
    pixels: bytes


class Wire(Protocol):
    """What is needed of a connection."""

    def recv(self, size: int, /) -> bytes:
        """At most so many bytes, or none at its end."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it."""


class Hurried:
    """A socket of which everything must be done until `ends`, of the monotonic clock; TimeoutError afterwards.

    A socket's own time-out begins anew with each byte: a desktop that trickles would hold us for ever.
    """

    def __init__(self, inner: socket.socket, ends: float) -> None:
        self._inner, self._ends = inner, ends

    def recv(self, size: int, /) -> bytes:
        """As the socket's."""
        return self._in_time().recv(size)

    def sendall(self, data: bytes, /) -> None:
        """As the socket's."""
        self._in_time().sendall(data)

    def _in_time(self) -> socket.socket:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the desktop takes too long")
        self._inner.settimeout(left)
        return self._inner


def exactly(source: Wire, size: int) -> bytes:
    """`size` bytes from the socket, or RfbRefused where it closes before."""
    data = bytearray()
    while len(data) < size:
        piece = source.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise RfbRefused("The desktop closed the connection in the middle of its greeting.")
        data += piece
    return bytes(data)


def vnc_response(password: str, challenge: bytes) -> bytes:
    """The answer to a VNC authentication challenge (RFC 6143, 7.2.2): DES with the key's bits mirrored."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    cipher = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305 - what the protocol says
    return cipher.update(challenge) + cipher.finalize()


def sign_in(machine: Wire, password: str) -> None:
    """Greet the VNC server and prove that we know the password; what follows is ClientInit."""
    if not exactly(machine, 12).startswith(b"RFB 003.00"):
        raise RfbRefused("What listens there speaks no RFB.")
    machine.sendall(VERSION)
    count = exactly(machine, 1)[0]
    offered = exactly(machine, count) if count else b""
    if SECURITY_VNC not in offered:
        raise RfbRefused(f"The desktop offers no VNC authentication{_reason(machine) if not count else ''}.")
    machine.sendall(bytes([SECURITY_VNC]))
    machine.sendall(vnc_response(password, exactly(machine, 16)))
    if struct.unpack(">I", exactly(machine, 4))[0]:
        raise RfbRefused(f"The desktop refused our password{_reason(machine)}.")


def initialise(machine: Wire, first: bytes = b"") -> tuple[int, int, bytes]:
    """Send a shared ClientInit, and `first` in the same breath; width, height and the whole ServerInit as it came."""
    machine.sendall(b"\x01" + first)
    head = exactly(machine, 24)
    width, height, name_length = struct.unpack(">HH16xI", head)
    if name_length > _LARGEST_NAME:
        raise RfbRefused("The desktop's name is too long to be one.")
    return width, height, head + exactly(machine, name_length)


def look(connection: socket.socket, password: str, *, ends: float) -> Frame:
    """One whole frame, as a viewer that has just connected sees it; all of it until `ends`, of the monotonic clock."""
    machine = Hurried(connection, ends)
    sign_in(machine, password)
    width, height, _ = initialise(machine)
    wishes = struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)  # BGRX
    wishes += struct.pack(">BxHi", 2, 1, 0)  # raw encoding only
    machine.sendall(wishes + struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))  # in one, or TCP waits 40 ms
    return Frame(width, height, _raw_update(machine, width, height))


def _raw_update(machine: Wire, width: int, height: int) -> bytes:
    if not 0 < width * height * 4 <= _LARGEST_FRAME:
        raise RfbRefused(f"A picture of {width}x{height} is no desktop's.")
    pixels = bytearray(width * height * 4)
    missing = width * height
    while missing > 0:
        kind = exactly(machine, 1)[0]
        if kind == FRAMEBUFFER_UPDATE:
            missing -= _rectangles(machine, width, pixels)
        elif kind == 3:  # ServerCutText
            _skip(machine, abs(struct.unpack(">3xi", exactly(machine, 7))[0]))
        elif kind != 2:  # Bell
            raise RfbRefused(f"The desktop sent message {kind}, which no viewer asked for.")
    return bytes(pixels)


def _skip(machine: Wire, size: int) -> None:
    """Read so many bytes, and keep none: a clipboard may be as long as its owner likes."""
    while size > 0:
        size -= len(exactly(machine, min(size, _PIECE)))


def _rectangles(machine: Wire, width: int, pixels: bytearray) -> int:
    got = 0
    for _ in range(struct.unpack(">xH", exactly(machine, 3))[0]):
        x, y, w, h, encoding = struct.unpack(">HHHHi", exactly(machine, 12))
        if encoding != 0 or (y + h) * width * 4 > len(pixels) or x + w > width:
            raise RfbRefused("The desktop sent a rectangle that was not asked for.")
        data = exactly(machine, w * h * 4)
        for row in range(h):
            start = ((y + row) * width + x) * 4
            pixels[start : start + w * 4] = data[row * w * 4 : (row + 1) * w * 4]
        got += w * h
    return got


def _reason(machine: Wire) -> str:
    size = struct.unpack(">I", exactly(machine, 4))[0]
    return f": {exactly(machine, min(size, 1000)).decode(errors='replace')}"
