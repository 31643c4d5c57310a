"""Which machines are kept for whom: pure decisions, for whatever there is."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.pools import reserving
from broker.pools.allocation import Offer
from broker.pools.reserving import Booked, Booking, Kept, Pace
from broker.pools.sizing import Counts, More, plan

unhurried = settings(max_examples=150, deadline=None)  # this machine may have much else to do
small = st.integers(0, 12)
MARGIN, BUILD = 900.0, 600.0
PACE = Pace(BUILD, 4, MARGIN)
moments = st.floats(9_000, 13_500)


@st.composite
def some_bookings(draw: st.DrawFn) -> list[Booking]:
    """Up to three bookings of one pool."""
    found = []
    for number in range(draw(st.integers(0, 3))):
        begins = draw(moments)
        seats = draw(st.integers(1, 12))
        claimed = draw(st.integers(0, seats))
        waiting = draw(st.integers(0, seats - claimed))
        found.append(Booking(number + 1, "Course", "p", seats, begins, begins + 3600, claimed, waiting))
    return found


def offer(vacant: int, coming: int = 0, room: int = 0) -> Offer:
    return Offer("p", "e", "ral", "Harwell", 1, 1.0, 0, vacant, coming, room, limit=99, serving=True)


@unhurried
@given(some_bookings(), moments, small, small, small)
def test_an_outsider_leaves_a_course_all_that_it_can_still_be_given(
    bookings: list[Booking], moment: float, vacant: int, coming: int, room: int
) -> None:
    """After an outsider took a machine, what is vacant, comes or may be built is enough for all, and in time."""
    kept = Kept(moment, MARGIN, {"p": bookings}, {"p": PACE})
    net = kept.net(offer(vacant, coming, room), behind=0)
    filling = [one for one in bookings if reserving.is_filling(one, PACE, moment)]
    assert 0 <= net.vacant <= vacant
    assert net.vacant == vacant or filling
    assert net.room <= room
    assert net.coming <= coming
    if net.vacant:
        needed = sum(one.unclaimed for one in filling)
        assert vacant - 1 + coming + room >= needed
        begun = sum(one.unclaimed for one in filling if one.begins - MARGIN <= moment)
        assert vacant - 1 >= begun


@unhurried
@given(some_bookings(), moments, small, small)
def test_who_has_a_seat_is_never_behind_those_who_have_none(
    bookings: list[Booking], moment: float, vacant: int, ahead: int
) -> None:
    """As long as a machine is vacant that nobody of the same booking waits for."""
    kept = Kept(moment, MARGIN, {"p": bookings}, {"p": PACE})
    seat = kept.seat([1])
    if seat is None:
        return
    mine = next(one for one in bookings if one.id == seat)
    assert reserving.is_open(mine, MARGIN, moment)
    assert mine.claimed + mine.waiting < mine.seats
    net = kept.net(offer(vacant), behind=ahead, mine=seat)
    assert net.vacant >= min(vacant, mine.unclaimed) - min(mine.waiting, ahead)


@unhurried
@given(st.integers(1, 70), st.integers(1, 40), st.floats(10, 900))
def test_filling_as_late_as_it_may_is_done_in_time(seats: int, at_a_time: int, build: float) -> None:
    """Built in batches from then on, all are there a margin before the begin; and not asked for much earlier."""
    pace = Pace(build, at_a_time, MARGIN)
    booking = Booking(1, "Course", "p", seats, 1_000_000, 1_003_600)
    moment, made = reserving.fills_from(booking, pace), 0
    while made < seats:
        wanted = reserving.reserved([booking], pace, moment)[1]
        made += plan(Counts(vacant=made), target=0, limit=seats, batch=at_a_time, more=More(wanted)).build
        moment += build
    assert booking.begins - MARGIN - 2 * build <= moment <= booking.begins - MARGIN + 1e-3
    assert reserving.reserved([booking], pace, reserving.fills_from(booking, pace) - 1) == {}
    assert reserving.held([booking], pace, 99, reserving.fills_from(booking, pace)) == {1: 0}
    assert reserving.held([booking], pace, 99, booking.begins - MARGIN) == {1: seats}


def test_what_one_course_counts_on_no_other_does() -> None:
    """Two of four seats each, of a pool in which five machines may still be made: three are held at once."""
    pace, begins = Pace(60, 50, MARGIN), 1_000_000.0
    first, second = (Booking(number, "Course", "p", 4, begins, begins + 3600) for number in (1, 2))
    moment = reserving.fills_from(first, pace)
    assert reserving.held([first, second], pace, 5, moment) == {1: 0, 2: 3}
    assert reserving.held([second], pace, 1, moment) == {2: 3}


def booked(pool: str, begins: float, *, cloud: str = "ral", seats: int = 20, build: float = 600) -> Booked:
    booking = Booking(1, "Course", pool, seats, begins, begins + 3600)
    return Booked(pool, cloud, [booking], build, at_a_time=8)


def test_only_pools_that_are_filled_at_the_same_time_share_their_clouds_builds() -> None:
    """One next month, one that runs already, and another cloud's slow down nothing."""
    day, mine = 86_400.0, booked("mine", 50_000_000)
    for other, builds in (
        (booked("other", mine.bookings[0].begins + 600), 4),
        (booked("other", mine.bookings[0].begins + 30 * day), 8),
        (booked("other", mine.bookings[0].begins - day), 8),
        (booked("other", mine.bookings[0].begins, cloud="dl"), 8),
    ):
        assert reserving.pace(mine, [mine, other], MARGIN).at_a_time == builds
    assert reserving.pace(mine, [mine], MARGIN).at_a_time == 8


several = st.lists(st.tuples(st.floats(0, 20_000), st.integers(1, 40), st.floats(60, 900)), min_size=1, max_size=5)


@unhurried
@given(several, st.integers(1, 30))
def test_a_cloud_is_never_counted_on_for_more_builds_than_it_takes(
    courses: list[tuple[float, int, float]], at_a_time: int
) -> None:
    """At any moment, over all pools that are being filled; each has one build at least."""
    pools = [
        replace(booked(f"p{n}", 1e6 + begins, seats=seats, build=build), at_a_time=at_a_time)
        for n, (begins, seats, build) in enumerate(courses)
    ]
    paces = {one.pool: reserving.pace(one, pools, MARGIN) for one in pools}
    spans = {one.pool: reserving.fills_from(one.bookings[0], paces[one.pool]) for one in pools}
    for moment in spans.values():
        busy = [p for p in pools if spans[p.pool] <= moment < p.bookings[0].begins - MARGIN]
        assert sum(paces[one.pool].at_a_time for one in busy) <= max(at_a_time, len(busy))


@unhurried
@given(st.integers(1, 40), st.dictionaries(st.sampled_from("abcde"), st.integers(0, 15)))
def test_seats_are_spread_over_pools_within_their_room_or_not_at_all(seats: int, room: dict[str, int]) -> None:
    """And come from one pool where one has them all."""
    found = reserving.spread(seats, room)
    if found is None:
        assert sum(room.values()) < seats
        return
    assert sum(found.values()) == seats
    assert all(0 < number <= room[pool] for pool, number in found.items())
    assert len(found) == 1 or max(room.values()) < seats


@unhurried
@given(some_bookings(), moments, st.floats(1, 9000))
def test_the_peak_is_the_most_seats_at_any_moment(bookings: list[Booking], begins: float, long: float) -> None:
    """Looked at wherever something begins."""
    ends = begins + long
    looks = [begins, *(one.begins for one in bookings if begins <= one.begins < ends)]
    at = [sum(one.seats for one in bookings if one.begins <= look < one.ends) for look in looks]
    assert reserving.peak(bookings, begins, ends) == max(at)


def test_the_words_say_what_is_kept_and_until_when() -> None:
    """To an administrator with the course's name, to others without."""
    course = Booking(7, "Mantid course", "p", 12, 14 * 3600, 16 * 3600)
    before = Kept(13.9 * 3600, MARGIN, {"p": [course]}, {"p": PACE})
    assert before.reserved("p") == (12, "12 more for Mantid course, which begins at 14:00 UTC")
    during = Kept(15 * 3600, MARGIN, {"p": [course]}, {"p": PACE})
    assert during.reserved("p") == (12, "12 more for Mantid course, until 16:00 UTC")
    assert during.net(offer(12), behind=0).kept == "is kept for a reservation until 16:00 UTC"
    assert reserving.clock(30 * 3600, 0) == "06:00 UTC on 2 January"
