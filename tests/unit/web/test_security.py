"""Pure decisions about addresses and origins."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.settings import GatewaySettings, Settings, WebSettings
from web.security import content_policy, gateway_origins, is_own_origin, safe_next

HERE = "https://desk.example"


@given(st.text() | st.text(alphabet="/\\:.@?#%abc \t\n", max_size=12))
@example("//evil.example")
@example("/\\evil.example")
@example("/\t/evil.example")
@example("https:evil.example")
def test_the_next_page_is_always_ours(wanted: str) -> None:
    """Whatever stands in `next`, a browser that follows it stays on this site."""
    followed = urlsplit(urljoin(HERE, safe_next(wanted).replace("\\", "/")))
    assert (followed.scheme, followed.netloc) == ("https", "desk.example")


@pytest.mark.parametrize("wanted", ["/", "/history", "/history?before=3", "/desktop/7", "/admin/#pools"])
def test_pages_of_ours_are_gone_to(wanted: str) -> None:
    """A safe path is kept as it is."""
    assert safe_next(wanted) == wanted


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment behind a proxy, its gateway on a port of its own."""
    monkeypatch.setenv("BEAMDESK_CONFIG", "/nowhere")
    return Settings(web=WebSettings(public_url=HERE), gateway=GatewaySettings(public_url="wss://desk.example:6443"))


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        (None, True),
        (HERE, True),
        ("http://127.0.0.1:8080", True),
        ("http://127.0.0.1:9", False),
        ("https://desk.example.evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_an_origin_is_ours_by_public_name_or_by_the_host_that_was_asked(
    settings: Settings, origin: str | None, ours: bool
) -> None:
    """No prefix, no suffix, no other port."""
    assert is_own_origin(origin, "127.0.0.1:8080", settings) is ours


def test_the_policy_lets_pages_reach_the_gateway_and_runs_nothing_inline(settings: Settings) -> None:
    """Its public address, and nothing that is written into a page."""
    policy = content_policy(settings, "desk.example")
    assert "wss://desk.example:6443" in policy
    assert "unsafe" not in policy
    assert gateway_origins(settings, "desk.example") == ["wss://desk.example:6443"]
