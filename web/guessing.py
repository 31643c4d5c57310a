"""Checking a password is slow on purpose: a few at a time, so that guessers cannot take the machine's memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from broker.errors import TooManyAttempts
from broker.identity import service as identity
from broker.identity.service import CameFrom, Person
from broker.runtime import Runtime

AT_A_TIME = 4
PATIENCE = 5.0  # seconds

_turns = BoundedSemaphore(AT_A_TIME)


def check_password(runtime: Runtime, name: str, password: str, came_from: CameFrom) -> tuple[str, Person]:
    """Begin a sign-in: its token and the person. TooManyAttempts where too many are being checked already."""
    with _turn():
        return identity.sign_in(runtime, name, password, came_from)


def check_service(runtime: Runtime, name: str, password: str, came_from: CameFrom) -> Person:
    """The service account of that name and password; TooManyAttempts as for people."""
    known = identity.known_service(runtime, name, password)
    if known is not None:
        return known
    with _turn():
        return identity.service_account(runtime, name, password, came_from.address)


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=PATIENCE):
        raise TooManyAttempts("Too many people sign in just now.", hint="Try again in a moment.", retry_after=5)
    try:
        yield
    finally:
        _turns.release()
