"""The word that stands for the desktop's password in a file, where the client's TLS ends at our gateway.

Only the gateway knows for what it stands, and only together with the file's unused ticket. So the password itself
leaves the broker's side by no file, and a file that was used is worth nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

LOOKED_AT = 64 * 1024  # bytes from a client, by which it has said who it is


def stand_in(password: str, ticket: str) -> str:
    """The word of the file with this ticket, as long as the password is (at most 43 characters)."""
    digest = hmac.digest(password.encode(), ticket.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode()[: len(password)]


class Exchange:
    """Puts the password in the stand-in's place in what a client says, once, however it is cut.

    A client says who it is in one of its first packets ([MS-RDPBCGR] 2.2.1.11), each behind a TPKT header (RFC 1006),
    in UTF-16. Each is held until it is whole, for which no client waits. Both words are as long, so no length changes.
    """

    def __init__(self, password: str, ticket: str) -> None:
        self._word = stand_in(password, ticket).encode("utf-16-le")
        self._password = password.encode("utf-16-le")
        self._held = bytearray()
        self._looked_at = 0
        self.done = False

    def pass_on(self, data: bytes) -> bytes:
        """What the machine may hear now, of this and of what was held."""
        self._held += data
        passed = bytearray()
        while not self.done and (packet := self._next()):
            passed += packet.replace(self._word, self._password, 1)
            self.done = self._word in packet
        if self.done:
            passed += self._held
            self._held.clear()
        return bytes(passed)

    def _next(self) -> bytes:
        """The next packet, if it is whole; where there is no packet, or were too many, this is done."""
        size = int.from_bytes(self._held[2:4])
        if bytes(self._held[:1]) not in (b"", b"\3") or (len(self._held) >= 4 > size) or self._looked_at > LOOKED_AT:
            self.done = True
        if self.done or len(self._held) < max(4, size):
            return b""
        packet = bytes(self._held[:size])
        del self._held[:size]
        self._looked_at += size
        return packet
