"""Behind proxies, the address that counts is one that a proxy of ours saw."""

from __future__ import annotations

import pytest

from broker.gateways.forwarded import client


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ([], 0, "192.0.2.1"),
        (["10.6.6.6"], 0, "192.0.2.1"),
        (["10.6.6.6, 203.0.113.5"], 1, "203.0.113.5"),
        (["10.6.6.6", "198.51.100.4, 203.0.113.5"], 2, "198.51.100.4"),
        ([], 1, "192.0.2.1"),
        (["203.0.113.5"], 2, "192.0.2.1"),
        (["x" * 500], 1, "x" * 64),
    ],
)
def test_what_a_client_wrote_itself_is_not_believed(forwarded: list[str], proxies: int, address: str) -> None:
    """No more headers than there are proxies."""
    assert client("192.0.2.1", forwarded, proxies) == address
