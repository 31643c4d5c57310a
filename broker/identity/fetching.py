"""HTTP to a provider, which may be slow, huge or broken: every exchange ends in time and within its size."""

from __future__ import annotations

import time
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError, ReadTimeout
from urllib3.exceptions import HTTPError

CONNECT, SILENCE, IN_ALL = 3.0, 5.0, 8.0  # seconds
LARGEST = 512 * 1024
PIECE = 16 * 1024


class Patient(HTTPAdapter):
    """Reads a whole answer before it hands it on, and gives up on one that takes too long or is too large.

    A time-out between two bytes would let an answer drip in for ever.
    """

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send it, whatever time-out was asked for."""
        ends = time.monotonic() + IN_ALL
        response = super().send(request, **{**options, "stream": True, "timeout": (CONNECT, SILENCE)})
        try:
            response._content = _read(response, ends)
        except HTTPError as error:  # urllib3's own, which requests would turn into this
            raise ConnectionError(error, request=request) from None
        finally:
            if not response._content:
                response.raw.close()
        response._content_consumed = True
        response.raw.release_conn()
        return response


def _read(response: Response, ends: float) -> bytes:
    body = bytearray()
    while piece := response.raw.read1(PIECE, decode_content=True):
        body += piece
        if time.monotonic() > ends:
            raise ReadTimeout(f"no whole answer within {IN_ALL:.0f} seconds", response=response)
        if len(body) > LARGEST:
            raise ReadTimeout(f"an answer of more than {LARGEST} bytes", response=response)
    return bytes(body)
