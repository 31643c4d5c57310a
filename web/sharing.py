"""What the pages and the API of shares have in common: a link's address."""

from __future__ import annotations

from flask import url_for

from web.site import site


def link(token: str) -> str:
    """The link to a shared desktop, as one would send it."""
    return f"{site().settings.web.public_url}{url_for('sharing_pages.invitation', token=token)}"
