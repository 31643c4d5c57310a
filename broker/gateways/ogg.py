"""The pages of an Ogg stream (RFC 3533, 6), found in bytes as they come. Pure."""

from __future__ import annotations

MARK = b"OggS\0"
HEAD = 27  # bytes before the table of segments, of which the last one counts them


class NoPage(Exception):
    """Raised where a page should begin and something else is."""


class Pages:
    """Cuts what it hears at the ends of pages. It never holds more than one page, which has 65 kB at most."""

    def __init__(self) -> None:
        self._heard = bytearray()

    def hear(self, said: bytes) -> list[bytes]:
        """The pages that are whole by now. NoPage where this is no Ogg."""
        self._heard += said
        found = []
        while size := self._size():
            found.append(bytes(self._heard[:size]))
            del self._heard[:size]
        return found

    def _size(self) -> int:
        """Of the page that begins here; 0 until it is whole."""
        heard = self._heard
        if not MARK.startswith(heard[: len(MARK)]):
            raise NoPage
        if len(heard) < HEAD or len(heard) < HEAD + heard[HEAD - 1]:
            return 0
        body = HEAD + heard[HEAD - 1]
        size = body + sum(heard[HEAD:body])
        return size if len(heard) >= size else 0
