"""What sent a request, in words."""

from __future__ import annotations

import pytest

from web.programs import program


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537 Chrome/156.0 Safari/537 Edg/156.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Version/19 Safari/604",
            "Safari on iPhone",
        ),
        ("curl/8.5.0", "curl"),
        ("python-httpx2/2.16", "a Python program"),
        ("something else", "something else"),
        ("", "an unknown program"),
        (None, "an unknown program"),
    ],
)
def test_programs_are_named_as_people_know_them(told: str | None, words: str) -> None:
    """Enough to recognise one's own."""
    assert program(told) == words
