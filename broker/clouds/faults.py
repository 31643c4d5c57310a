"""What Libcloud and the network raise, as errors that a person understands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

import requests
from libcloud.common.types import InvalidCredsError

from broker.errors import CloudBusy, CloudFault, CloudFull, CloudRefused, CloudSignInRefused, CloudUnreachable

LONGEST = 500  # characters of what a provider said


@contextmanager
def faults(title: str, doing: str) -> Iterator[None]:
    """Turn what Libcloud and the network raise while `doing` into CloudFault or one of its kinds."""
    try:
        yield
    except CloudFault:
        raise
    except (OSError, HTTPException) as error:
        raise CloudUnreachable(
            f"{title} did not answer while {doing}: {_reason(error)}.",
            hint="Is it up, and does the network reach it? The broker asks it again by itself.",
        ) from error
    except Exception as error:
        known_as = f"{_said(error)} {getattr(error, 'code', '')}".lower()
        kind = CloudSignInRefused if isinstance(error, InvalidCredsError) else _kind(status_of(error), known_as)
        raise kind(f"{title} said no while {doing}: {_said(error)}.", **_facts(error)) from error


def _said(error: Exception) -> str:
    """The provider's own words, which Libcloud keeps under two names, and Google in a table; not a whole page."""
    words = getattr(error, "message", None) or getattr(error, "value", None)
    if isinstance(words, Mapping):
        words = words.get("message")
    return " ".join(str(words or error).split())[:LONGEST].rstrip(".") or type(error).__name__


def _reason(error: Exception) -> str:
    """What the network said, without the layers that wrap it."""
    if isinstance(error, TimeoutError | requests.Timeout):
        return "no answer in time"
    found = re.search(r"\[Errno -?\d+\] ([^'\")(]+)", str(error))
    return found[1] if found else str(error) or type(error).__name__


# What providers say where there is no room: OpenStack's quota; EC2's error codes of capacity and limits; Azure's
_FULL = (
    *("quota exceeded", "insufficientinstancecapacity", "instancelimitexceeded", "vcpulimitexceeded"),
    *("exceeding approved", "skunotavailable", "allocationfailed"),
)
# EC2's and Google's codes where they want fewer requests
_BUSY = ("requestlimitexceeded", "ratelimitexceeded")
# EC2's where it does not know who asks, a clock that is off among them
_UNKNOWN_CALLER = ("authfailure", "invalidclienttokenid", "signaturedoesnotmatch", "requestexpired")


def _kind(status: int, said: str) -> type[CloudFault]:
    if status == 507 or (400 <= status < 600 and any(word in said for word in _FULL)):
        return CloudFull
    if status == 429 or any(word in said for word in _BUSY):
        return CloudBusy
    if status == 401 or any(word in said for word in _UNKNOWN_CALLER):
        return CloudSignInRefused
    return CloudRefused if 400 <= status < 500 else CloudFault


def _facts(error: Exception) -> dict[str, Any]:
    """`retry_after`, where the cloud says when it wants to be asked again; Libcloud has made seconds of a date."""
    try:
        return {"retry_after": float((getattr(error, "headers", None) or {})["retry-after"])}
    except (KeyError, TypeError, ValueError):
        return {}


def status_of(error: Exception) -> int:
    """HTTP's status of what Libcloud raised, or 0; its errors keep it under three names, and some a text instead."""
    found = (getattr(error, "status", None), getattr(error, "code", None), getattr(error, "http_code", None))
    return next((status for status in found if isinstance(status, int)), 0)
