"""API tokens, as they cross the edge."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from web.api.schemas import Given, Moment, Taken, Text
from web.api.schemas.people import PersonOut

Grantable = Literal["read", "launch", "connect", "teach", "account", "look", "join", "operate", "audit"]
ForOthers = Literal["read", "launch", "connect"]
ForPrograms = Literal["read", "launch", "connect", "look", "operate"]


class TokenBody(Taken):
    """A new token. It can always read, too."""

    name: Text
    rights: Annotated[list[Grantable], Field(max_length=20)] = []  # noqa: RUF012 - pydantic copies it
    days: Annotated[int, Field(ge=1, le=366)] = 90


class ActForBody(Taken):
    """For whom a program wants to act, how, and how long."""

    user: Text
    rights: Annotated[list[ForOthers], Field(max_length=20)] = ["launch", "connect"]  # noqa: RUF012
    minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 60


class TokenOut(Given):
    """A token, without its secret. `for_program`: a program was given it, to act for me."""

    id: int
    name: str
    rights: list[str]
    created_at: Moment
    expires_at: Moment
    for_program: bool


class TokenMadeOut(TokenOut):
    """A token that was just made, with its secret, which is told only now."""

    token: str


class DeviceBody(Taken):
    """Which program wants to be signed in, and for what. Its name is shown to the user."""

    program: Text
    rights: Annotated[list[ForPrograms], Field(max_length=20)] = ["launch", "connect"]  # noqa: RUF012


class DeviceOut(Given):
    """What the program shows (the code and where to confirm it), and keeps (the device code)."""

    device_code: str
    user_code: str
    url: str
    url_with_code: str
    seconds: int
    interval: int


class DeviceTokenBody(Taken):
    """The device code."""

    device_code: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class DeviceTokenOut(TokenMadeOut):
    """The program's token, and whose it is."""

    person: PersonOut


class DecisionBody(Taken):
    """Whether the program may sign in as me."""

    allow: bool


class WaitingOut(Given):
    """A program that waits to be signed in."""

    program: str
    client: str
    rights: list[str]
    expires_at: Moment
