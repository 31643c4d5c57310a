"""People, and signing in."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from broker.identity.rights import Right, Role
from web.api.schemas import Given, Taken, Text


class SignInBody(Taken):
    """Who signs in."""

    name: Text
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class PersonOut(Given):
    """A signed-in person."""

    name: str
    full_name: str
    role: Role
    groups: list[str]
    rights: list[Right]


class SignInOut(Given):
    """A sign-in: the token goes into an Authorization header as `Bearer …`."""

    token: str
    person: PersonOut


class SignOutOut(Given):
    """Where a browser goes on, so that it is signed out at its provider, too."""

    continue_at: str
