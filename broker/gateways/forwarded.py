"""Whose address a connection came from, where proxies stand before the gateway."""

from __future__ import annotations


def client(peer: str, forwarded: list[str], proxies: int) -> str:
    """The address that the outermost of so many proxies saw; `forwarded` are the X-Forwarded-For headers.

    Each proxy adds at the end the address that it saw; what stands before theirs the client wrote itself.
    """
    seen = [address.strip() for line in forwarded for address in line.split(",")]
    return (seen[-proxies] if 0 < proxies <= len(seen) else peer)[:64]
