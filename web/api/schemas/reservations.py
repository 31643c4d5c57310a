"""Reservations, and what courses have in common with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from web.api.schemas import Given, Moment, Taken, Text, Words
from web.api.schemas.sessions import WishBody

Seats = Annotated[int, Field(ge=1, le=10_000)]


class BookingBody(Taken):
    """Seats of an environment, from one moment to another."""

    title: Words
    environment: Text
    seats: Seats
    starts_at: Moment
    ends_at: Moment


class ReservationBody(BookingBody):
    """Which machines to reserve, for which group, and when. `pools` are those to take, none for the best for `wish`."""

    group: Text
    pools: list[Text] = Field(default_factory=list, max_length=100)
    wish: WishBody = WishBody()


class ChangeBody(Taken):
    """What is to be otherwise of a reservation or course; what is not said stays."""

    seats: Seats | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None


class BookedOut(Given):
    """Seats that are kept; `ready` ones have a machine, or a vacant one is there for them."""

    id: int
    title: str
    environment: str
    environment_title: str
    seats: int
    ready: int
    starts_at: datetime
    ends_at: datetime
    made_by: str


class ReservationOut(BookedOut):
    """One reservation: `taken` of its seats have or wait for a machine, `ready` have one or a vacant one is kept.

    `pools` says how many each pool gives; the first machine is asked for at `fills_at`. One without a `group` is a
    course's.
    """

    group: str
    pools: dict[str, int]
    fills_at: datetime
    phase: Literal["planned", "filling", "open", "over", "cancelled"]
    taken: int
