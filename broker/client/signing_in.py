"""Signing this command in: it shows a code, its user confirms it in the browser (after RFC 8628)."""

from __future__ import annotations

import getpass
import platform
import time
from collections.abc import Callable
from typing import Any

from broker.client.account import Account
from broker.client.api import Api
from broker.errors import BrokerError, NotSignedIn

Show = Callable[[str, str, str], None]  # the code, where to confirm it, and the same with the code in it


def begin(url: str, *, show: Show) -> Account:
    """Ask, show the code, and wait until it is confirmed. NotSignedIn where nobody did in time."""
    api = Api(url)
    asked = api.post("/device", program=f"beamdesk on {platform.node() or 'a computer'} ({getpass.getuser()})"[:64])
    show(asked["user_code"], asked["url"], asked["url_with_code"])
    deadline = time.monotonic() + asked["seconds"]
    while time.monotonic() < deadline:
        time.sleep(asked["interval"])
        if (given := _given(api, asked["device_code"])) is not None:
            return Account(url=url, token=given["token"], name=given["person"]["name"], until=given["expires_at"])
    raise NotSignedIn("Nobody confirmed the code in time.", hint="Begin again: beamdesk login")


def _given(api: Api, device_code: str) -> Any:
    """The answer with the token; None while nobody has decided."""
    try:
        return api.post("/device/token", device_code=device_code)
    except BrokerError as refused:
        if refused.code == "not-decided":
            return None
        raise
