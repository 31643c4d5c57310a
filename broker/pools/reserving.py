"""Which machines are kept for whom? Pure: from bookings and a pool's counts to what is built ahead and what is held.

A booking is a reservation's part in one pool. Its machines are to be vacant a margin before it begins. They are built
ahead as late as that allows, and held as late: while the pool can still be filled in time, others may take what is
vacant, so that nobody is starved for a course that begins tomorrow. Moments are Unix seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from broker.pools.allocation import Offer


@dataclass(frozen=True)
class Booking:
    """`seats` machines of a pool for one reservation; `claimed` of its sessions have one already, `waiting` wait."""

    id: int
    title: str
    pool: str
    seats: int
    begins: float
    ends: float
    claimed: int = 0
    waiting: int = 0

    @property
    def unclaimed(self) -> int:
        """Machines that its people may still ask for."""
        return max(0, self.seats - self.claimed)


@dataclass(frozen=True)
class Pace:
    """How a pool is filled, in seconds: a build, so many at a time; and how long before the begin it is full."""

    build: float
    at_a_time: int
    margin: float


def is_open(booking: Booking, margin: float, moment: float) -> bool:
    """Whether its people may take their seats: from when they are to be warm until its end."""
    return booking.begins - margin <= moment < booking.ends


def fills_from(booking: Booking, pace: Pace) -> float:
    """When its machines are asked for: a build earlier than they must be, so that others are served meanwhile."""
    batches = math.ceil(booking.seats / max(1, pace.at_a_time))
    return booking.begins - pace.margin - (batches + 1) * pace.build


def is_filling(booking: Booking, pace: Pace, moment: float) -> bool:
    """Whether machines are kept or made for it now."""
    return fills_from(booking, pace) <= moment < booking.ends


@dataclass(frozen=True)
class Booked:
    """A pool with all its bookings; a build takes `build` seconds, and its `cloud` takes `at_a_time` of them."""

    pool: str
    cloud: str
    bookings: Sequence[Booking]
    build: float
    at_a_time: int


def pace(one: Booked, others: Iterable[Booked], margin: float) -> Pace:
    """How the pool is filled: its cloud's builds are shared by those of its pools that are filled at the same time.

    Which ones these are is judged as if all of the cloud's shared always: no pool can take longer than that.
    """
    rivals = [other for other in others if other.cloud == one.cloud and other.pool != one.pool]
    slowest = max(1, one.at_a_time // (1 + len(rivals)))

    def spans(booked: Booked) -> list[tuple[float, float]]:
        slow = Pace(booked.build, slowest, margin)
        return [(fills_from(booking, slow), booking.begins - margin) for booking in booked.bookings]

    taken = [spans(rival) for rival in rivals]
    sharing = [sum(any(_meet(span, each) for each in theirs) for theirs in taken) for span in spans(one)]
    return Pace(one.build, max(1, one.at_a_time // (1 + max(sharing, default=0))), margin)


def _meet(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def reserved(bookings: Iterable[Booking], pace: Pace, moment: float) -> dict[int, int]:
    """Vacant machines to keep beyond a pool's own, by booking; who waits for one is counted in the queue."""
    filling = [booking for booking in bookings if is_filling(booking, pace, moment)]
    return {booking.id: max(0, booking.unclaimed - booking.waiting) for booking in filling}


def held(bookings: Iterable[Booking], pace: Pace, growing: int, moment: float) -> dict[int, int]:
    """Of a pool's vacant machines, how many are kept from others for each booking.

    All that it still needs, but for what can be made until it is to be full: no more than time allows, and than are
    `growing`: coming, or within the pool's limit. What one booking counts on, no other does.
    """
    found = {}
    for booking in sorted(bookings, key=lambda one: (one.begins, one.id)):
        if is_filling(booking, pace, moment):
            left = max(0.0, booking.begins - pace.margin - moment)
            in_time = math.floor(left / max(1.0, pace.build) + 1e-9) * pace.at_a_time
            later = min(booking.unclaimed, in_time, max(0, growing))
            growing -= later
            found[booking.id] = booking.unclaimed - later
    return found


def free(vacant: int, kept: Mapping[int, int], mine: int | None, *, behind: int, behind_mine: int = 0) -> int:
    """Vacant machines that somebody may have: of what is kept for others none, of `mine` all.

    `behind` count those who wait before, `behind_mine` those of them who wait for the same booking.
    """
    others = sum(number for booking, number in kept.items() if booking != mine)
    ordinary = max(0, vacant - others - behind)
    own = min(vacant, kept.get(mine, 0)) - behind_mine if mine is not None else 0
    return max(ordinary, own, 0)


@dataclass(frozen=True)
class Kept:
    """All bookings that matter at one moment, by pool, with the pace of each pool."""

    moment: float
    margin: float = 0.0
    bookings: Mapping[str, Sequence[Booking]] = field(default_factory=dict)
    paces: Mapping[str, Pace] = field(default_factory=dict)

    def net(self, offer: Offer, *, behind: int, mine: int | None = None) -> Offer:
        """The offer with as vacant, coming and room what somebody may have who comes behind so many.

        `mine` is the reservation of which they have a seat.
        """
        bookings = self.bookings.get(offer.pool, ())
        if not bookings:
            return replace(offer, vacant=max(0, offer.vacant - behind))
        pace = self.paces[offer.pool]
        kept = held(bookings, pace, offer.coming + offer.room, self.moment)
        waiting = sum(booking.waiting for booking in bookings if booking.id == mine)
        vacant = free(offer.vacant, kept, mine, behind=behind, behind_mine=min(waiting, behind))
        if mine in kept:
            return replace(offer, vacant=vacant)
        filling = [booking for booking in bookings if is_filling(booking, pace, self.moment)]
        spare = max(0, offer.vacant + offer.coming - sum(booking.unclaimed for booking in filling))
        coming = min(offer.coming, max(0, spare - vacant))
        everything = offer.vacant + offer.coming + offer.room - sum(booking.unclaimed for booking in filling)
        room = min(offer.room, max(0, everything - vacant - coming))
        until = min((booking.ends for booking in filling), default=0.0)
        words = f"is kept for a reservation until {clock(until, self.moment)}" if sum(kept.values()) else ""
        return replace(offer, vacant=vacant, coming=coming, room=room, kept=words)

    def seat(self, reservations: Iterable[int]) -> int | None:
        """Of these reservations, one of which somebody may take a seat now: the one that ends first."""
        wanted = set(reservations)
        parts: dict[int, list[Booking]] = {}
        for booking in (booking for some in self.bookings.values() for booking in some):
            if booking.id in wanted and is_open(booking, self.margin, self.moment):
                parts.setdefault(booking.id, []).append(booking)
        vacant = [some for some in parts.values() if sum(one.seats - one.claimed - one.waiting for one in some) > 0]
        return min(((some[0].ends, some[0].id) for some in vacant), default=(0.0, None))[1]

    def reserved(self, pool: str) -> tuple[int, str]:
        """Vacant machines that the pool keeps for its bookings, and for which ones, in words."""
        bookings = self.bookings.get(pool, ())
        if not bookings:
            return 0, ""
        numbers = reserved(bookings, self.paces[pool], self.moment)
        named = [(numbers[one.id], one) for one in bookings if numbers.get(one.id)]
        return sum(numbers.values()), ", ".join(f"{number} more for {self._words(one)}" for number, one in named)

    def _words(self, booking: Booking) -> str:
        if booking.begins > self.moment:
            return f"{booking.title}, which begins at {clock(booking.begins, self.moment)}"
        return f"{booking.title}, until {clock(booking.ends, self.moment)}"


def clock(moment: float, now: float) -> str:
    """A moment in short: "14:00 UTC", with its day where that is another one than today."""
    at, today = datetime.fromtimestamp(moment, UTC), datetime.fromtimestamp(now, UTC).date()
    return f"{at:%H:%M} UTC" if at.date() == today else f"{at:%H:%M} UTC on {at.day} {at:%B}"


def peak(bookings: Iterable[Booking], begins: float, ends: float) -> int:
    """The most seats that are booked at a moment between the two."""
    during = [booking for booking in bookings if booking.begins < ends and begins < booking.ends]
    starts = {max(begins, booking.begins) for booking in during}
    return max((sum(one.seats for one in during if one.begins <= at < one.ends) for at in starts), default=0)


def spread(seats: int, room: Mapping[str, int]) -> dict[str, int] | None:
    """Which pools give the seats, of those with so much room, the best one first; None where they have too little.

    One pool that has them all comes before several.
    """
    whole = next((pool for pool, free_ in room.items() if free_ >= seats), None)
    if whole is not None:
        return {whole: seats}
    found, left = {}, seats
    for pool, free_ in room.items():
        taken = min(left, max(0, free_))
        if taken:
            found[pool] = taken
            left -= taken
    return found if left == 0 else None
