"""Which pages are the portal's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateways.door import is_ours
from broker.settings import GatewaySettings, Settings, WebSettings

HTTPS = Settings(
    web=WebSettings(public_url="https://desk.example"), gateway=GatewaySettings(public_url="wss://desk.example:6443")
)
LOCAL = Settings(
    web=WebSettings(public_url="http://localhost:8080"), gateway=GatewaySettings(public_url="ws://localhost:6080")
)


@pytest.mark.parametrize(
    ("settings", "origin", "host"),
    [
        (HTTPS, "https://desk.example", "desk.example:6443"),
        (HTTPS, "https://desk.example", "10.0.0.7"),  # a proxy that names the gateway by its address
        (LOCAL, "http://localhost:8080", "localhost:6080"),
        (LOCAL, "http://127.0.0.1:8080", "127.0.0.1:6080"),
        (LOCAL, "http://[::1]:8080", "[::1]:6080"),
    ],
)
def test_the_portals_pages_are_ours(settings: Settings, origin: str, host: str) -> None:
    """Under its public address, and on the host that was asked where that is the portal's as well."""
    assert is_ours(origin, host, settings)


@pytest.mark.parametrize(
    ("settings", "origin", "host"),
    [
        (HTTPS, "http://desk.example", "desk.example:6443"),
        (HTTPS, "https://desk.example:444", "desk.example:6443"),
        (HTTPS, "https://desk.example.evil", "desk.example:6443"),
        (HTTPS, "https://evil.example", "desk.example:6443"),
        (HTTPS, "null", "desk.example:6443"),
        (HTTPS, "", ""),
        (LOCAL, "http://127.0.0.1:8081", "127.0.0.1:6080"),
        (LOCAL, "http://127.0.0.1:99999", "127.0.0.1:6080"),
        (LOCAL, "http://[", "["),
    ],
)
def test_other_pages_are_not(settings: Settings, origin: str, host: str) -> None:
    """Another scheme, port or host, and what is no address."""
    assert not is_ours(origin, host, settings)


@given(st.text(), st.text())
def test_no_header_is_an_error(origin: str, host: str) -> None:
    """Whatever a stranger sends is answered, and is not ours."""
    assert not is_ours(origin, host, HTTPS)
