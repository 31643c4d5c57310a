"""Where a request comes from: the address, behind as many proxies as the settings say, and the program."""

from __future__ import annotations

from flask import request

from broker.identity.service import CameFrom


def came_from() -> CameFrom:
    """The visitor's address and program."""
    return CameFrom(request.remote_addr or "", request.headers.get("User-Agent", ""))
