"""What a browser or program calls itself, in words that its owner recognises."""

from __future__ import annotations

# The first that fits: browsers claim to be those that came before them.
PROGRAMS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("HeadlessChrome/", "Chromium"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python-", "a Python program"),
    ("Python", "a Python program"),
    ("beamdesk", "the beamdesk command"),
)
SYSTEMS = (
    ("Windows", "Windows"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS X", "macOS"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def program(user_agent: str | None) -> str:
    """ "Firefox on Linux"; what is not known stays as it calls itself."""
    told = user_agent or ""
    name = next((name for mark, name in PROGRAMS if mark in told), None)
    system = next((name for mark, name in SYSTEMS if mark in told), None)
    if name is None:
        return told[:60] or "an unknown program"
    return f"{name} on {system}" if system else name
