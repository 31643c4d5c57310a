"""What the pages and the API of courses share: the link's address, and the looks of this process."""

from __future__ import annotations

from flask import current_app, url_for

from broker.courses.pictures import Pictures
from web.site import site


def link(token: str) -> str:
    """The invite link, as one would send it."""
    return f"{site().settings.web.public_url}{url_for('courses_pages.invitation', token=token)}"


def pictures() -> Pictures:
    """The looks of this process."""
    found: Pictures = current_app.extensions.setdefault("beamdesk-pictures", Pictures(site().runtime))
    return found
