"""Reserved machines: made ahead, given to the group alone, whoever asks at once; on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from broker.database import now
from broker.errors import Forbidden, InvalidRequest, NoRoomToReserve, NotFound, WrongState
from broker.events import Event
from broker.identity.rights import Role
from broker.identity.service import Person, create_account
from broker.pools import bookings, overview, stock
from broker.pools.allocation import Wish
from broker.pools.manager import PoolManager
from broker.pools.models import BuildTime, Machine, MachineState, Reservation
from broker.pools.standing import Standing
from broker.runtime import Runtime
from broker.sessions import booked, reservations, seats, service, waiting, wishes
from broker.sessions.availability import availability
from broker.sessions.booked import Phase
from broker.sessions.launches import LaunchLog
from broker.sessions.models import SessionState, UserSession
from broker.sessions.reservations import Change, Plan
from broker.sessions.upkeep import SessionUpkeep
from tests.integration.sessions.test_storm import fill

HOUR = timedelta(hours=1)


def admin(runtime: Runtime) -> Person:
    return create_account(runtime, "ada", "Ada", "secret-password", role=Role.ADMIN)


def somebody(runtime: Runtime, name: str, *groups: str) -> Person:
    return create_account(runtime, name, name.title(), "secret-password", groups=groups)


def plan(number: int = 3, starts_at: datetime | None = None, ends_at: datetime | None = None, **more: object) -> Plan:
    starts_at = starts_at or now()
    values = {"title": "Mantid course", "group": "course", "wish": Wish("light"), "pools": ("light-ral",), **more}
    return Plan(seats=number, starts_at=starts_at, ends_at=ends_at or starts_at + HOUR, **values)  # type: ignore[arg-type]


def running(runtime: Runtime, number: int = 3) -> Reservation:
    """A reservation that is open now."""
    return reservations.make(runtime, admin(runtime), plan(number))


def test_those_who_ask_at_once_never_get_what_is_kept(each_runtime: Runtime) -> None:
    """Of five vacant machines three are reserved: of sixteen outsiders at the same moment, two get one."""
    fill(each_runtime, 5)
    running(each_runtime, 3)
    outsiders = [somebody(each_runtime, f"user{n}") for n in range(16)]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda p: service.request(each_runtime, p, Wish("light", location="ral")), outsiders))
    assert sum(session.state == SessionState.PREPARING for session in found) == 2
    SessionUpkeep(each_runtime).tend()
    with each_runtime.database.reading() as db:
        vacant = db.scalars(select(Machine).where(Machine.state == MachineState.VACANT)).all()
    assert len(vacant) == 3, "nor does the queue give them away"


def test_a_group_gets_its_seats_though_others_wait_and_no_more_than_those(each_runtime: Runtime) -> None:
    """Eight of the group ask at once for three seats, behind outsiders: three get theirs, the rest waits."""
    fill(each_runtime, 3)
    mine = running(each_runtime, 3)
    for number in range(2):
        outsider = service.request(each_runtime, somebody(each_runtime, f"user{number}"), Wish("light", location="ral"))
        assert outsider.state == SessionState.QUEUED
    people = [somebody(each_runtime, f"pupil{number}", "course") for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda p: service.request(each_runtime, p, Wish("light", location="ral")), people))
    assert sum(session.state == SessionState.PREPARING for session in found) == 3
    assert [session.reservation_id for session in found].count(mine.id) == 3
    with each_runtime.database.reading() as db:
        card = booked.card(db, each_runtime.settings, db.get_one(Reservation, mine.id))
    assert (card.taken, card.ready, card.phase) == (3, 3, Phase.OPEN)


def test_who_waited_while_a_reservation_was_changed_sees_what_it_is_now(each_runtime: Runtime) -> None:
    """All three machines are kept by then, not one."""
    fill(each_runtime, 3)
    mine = running(each_runtime, 1)
    bob = somebody(each_runtime, "bob")
    with ThreadPoolExecutor(1) as threads:
        with each_runtime.database.transaction() as db:
            bookings.hold(db, "light")
            row = db.get_one(Reservation, mine.id)
            row.seats, row.pools = 3, {"light-ral": 3}
            launched = threads.submit(service.request, each_runtime, bob, Wish("light", location="ral"))
            wait([launched], timeout=0.5)  # until it has come to where it must wait
        assert launched.result().state == SessionState.QUEUED


def test_who_has_seats_in_two_environments_is_shown_both(runtime: Runtime) -> None:
    """Whichever reservation ends first."""
    fill(runtime, 1)
    with runtime.database.transaction() as db:
        db.add(Machine(pool="science-ral", environment="science", size="big", cloud="ral", state=MachineState.VACANT))
    running(runtime, 1)
    reservations.make(runtime, admin(runtime), plan(1, wish=Wish("science"), pools=(), ends_at=now() + 2 * HOUR))
    with runtime.database.reading() as db:
        queues = waiting.look(db, runtime.settings)
    pools = {"light": "light-ral", "science": "science-ral"}
    for groups, ready in ((("course",), True), ((), False)):
        for environment, pool in pools.items():
            only = replace(queues, offers={pool: queues.offers[pool]})
            assert availability(only, environment, groups).ready is ready


def test_a_seat_that_is_left_is_the_groups_again(each_runtime: Runtime) -> None:
    """And what one of the group holds beyond the seats is ordinary."""
    fill(each_runtime, 2)
    running(each_runtime, 2)
    first, second = somebody(each_runtime, "first", "course"), somebody(each_runtime, "second", "course")
    session = service.request(each_runtime, first, Wish("light", location="ral"))
    service.end(each_runtime, first, session.id)
    outsider = service.request(each_runtime, somebody(each_runtime, "bob"), Wish("light", location="ral"))
    assert outsider.state == SessionState.QUEUED
    assert service.request(each_runtime, second, Wish("light", location="ral")).state == SessionState.PREPARING


def test_an_outsider_is_told_that_machines_are_kept_but_not_for_whom(runtime: Runtime) -> None:
    """And sees no free one in the portal."""
    fill(runtime, 2)
    running(runtime, 6)
    session = service.request(runtime, somebody(runtime, "bob"), Wish("light", location="ral"))
    whole = plan(2, title="Beamtime", wish=Wish("science"), pools=())
    reservations.make(runtime, admin(runtime), whole)
    with runtime.database.reading() as db:
        queues = waiting.look(db, runtime.settings)
        assert availability(queues, "science").text.startswith("Kept for a reservation until")
        found = wishes.prospects(runtime.settings, queues, db.get_one(UserSession, session.id))
        assert queues.free("light-ral") == 0
        assert not queues.lines["light-ral"].may_grow, "the whole limit is kept"
    said = next(entry.reason for entry in found.why_not if entry.pool == "light-ral")
    assert said.startswith("is kept for a reservation until")
    assert said.endswith("UTC"), "no more can be made"
    assert "Mantid" not in said + session.reason
    assert "kept for a reservation" in session.reason


def test_a_pool_fills_ahead_and_says_for_whom(runtime: Runtime) -> None:
    """Not before it must; as many as the reservation lacks, beyond the target; and it lets them go afterwards."""
    clouds = {
        name: cloud.model_copy(update={"concurrent_builds": 20}) for name, cloud in runtime.settings.clouds.items()
    }
    runtime.settings = runtime.settings.model_copy(update={"clouds": clouds})
    with runtime.database.transaction() as db:
        db.add(BuildTime(pool="light-ral", seconds=600.0))
    soon = now() + timedelta(minutes=22)
    made = reservations.make(runtime, admin(runtime), plan(4, soon, soon + HOUR))
    with runtime.database.reading() as db:
        counts = {"light-ral": 0}
        kept = seats.look(db, runtime.settings).kept
        card = next(card for card in overview.pools(db, runtime.settings, counts, kept) if card.name == "light-ral")
    assert card.reserved == 4
    assert f"4 more for Mantid course, which begins at {soon:%H:%M} UTC" in card.reason
    keeper = PoolManager(runtime, taken=seats.taken)
    keeper._fill({}, keeper._standings())
    with runtime.database.reading() as db:
        pools = [machine.pool for machine in db.scalars(select(Machine))]
    assert pools.count("light-ral") == 2 + 4
    later = now() + timedelta(hours=5)
    reservations.change(runtime, admin(runtime), made.id, Change(starts_at=later, ends_at=later + HOUR))
    with runtime.database.reading() as db:
        assert seats.look(db, runtime.settings).kept.reserved("light-ral") == (0, "")


def test_reservations_on_one_cloud_share_what_it_builds(runtime: Runtime) -> None:
    """Another environment's on the same cloud: each is filled at half the pace, as a launch and the manager see it."""
    ada, begin = admin(runtime), now() + 5 * HOUR
    reservations.make(runtime, ada, plan(4, begin))
    with runtime.database.reading() as db:
        alone = seats.look(db, runtime.settings, "light").kept.paces["light-ral"]
    reservations.make(runtime, ada, plan(1, begin, wish=Wish("science"), pools=()))
    with runtime.database.reading() as db:
        shared = [seats.look(db, runtime.settings, name).kept.paces["light-ral"] for name in ("light", None)]
    assert [alone.at_a_time, *(pace.at_a_time for pace in shared)] == [4, 2, 2]


def test_a_pool_stands_in_for_another_only_with_what_is_not_reserved(runtime: Runtime) -> None:
    """Two machines in place of a cloud's that is drained, or none where both are a course's."""
    clouds = {"ral": Standing(draining=True), "dl": Standing()}

    def stands_in() -> dict[str, int]:
        with runtime.database.reading() as db:
            held = stock.counts(db, runtime.settings.pools)
            return stock.taken_over(runtime.settings, held, {}, clouds, {}, seats.look(db, runtime.settings).kept)

    assert stands_in()["light-dl"] == 2
    reservations.make(runtime, admin(runtime), plan(2, pools=("light-dl",)))
    assert "light-dl" not in stands_in()


def test_who_has_a_seat_is_not_forecast_besides(runtime: Runtime) -> None:
    """A course of seventy is no sign of a busy afternoon."""
    fill(runtime, 2)
    running(runtime, 1)
    for person in (somebody(runtime, "pupil", "course"), somebody(runtime, "bob")):
        service.request(runtime, person, Wish("light", location="ral"))
    assert len(LaunchLog(runtime).fresh()) == 1


def test_who_waits_with_a_seat_may_wish_for_what_is_kept_for_them(runtime: Runtime) -> None:
    """And gets it at once."""
    fill(runtime, 1)
    running(runtime, 1)
    pupil = somebody(runtime, "pupil", "course")
    session = service.request(runtime, pupil, Wish("light", location="dl"))
    assert session.state == SessionState.QUEUED
    assert wishes.change(runtime, pupil, session.id, {"location": "ral"}).state == SessionState.PREPARING


def test_what_cannot_be_held_is_refused_with_how_many_could(runtime: Runtime) -> None:
    """Reservations that overlap share a pool's limit; those that follow each other do not."""
    ada, begin = admin(runtime), now() + HOUR
    reservations.make(runtime, ada, plan(4, begin))
    with pytest.raises(NoRoomToReserve) as refused:
        reservations.make(runtime, ada, plan(3, begin + HOUR / 2, title="Another"))
    assert refused.value.facts["possible"] == 2
    with pytest.raises(NoRoomToReserve):
        reservations.make(runtime, ada, plan(3, begin + HOUR, title="Warm while the first one still runs"))
    assert reservations.make(runtime, ada, plan(6, begin + 2 * HOUR, title="Later")).pools == {"light-ral": 6}
    spread = reservations.make(runtime, ada, plan(5, begin, title="Anywhere", pools=()))
    assert spread.pools == {"light-ral": 2, "light-dl": 3}


def test_two_who_reserve_at_once_do_not_get_more_than_there_is(each_runtime: Runtime) -> None:
    """Of six machines, one of two reservations of four."""
    ada, begin = admin(each_runtime), now() + HOUR

    def reserve(number: int) -> bool:
        try:
            reservations.make(each_runtime, ada, plan(4, begin, title=f"Course {number}"))
        except NoRoomToReserve:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(reserve, range(4))) == 1


def test_repeating_changes_nothing_and_all_is_in_the_audit_log(runtime: Runtime) -> None:
    """The same values are the same reservation; cancelled twice is cancelled once."""
    ada, begin = admin(runtime), now() + HOUR
    made = reservations.make(runtime, ada, plan(2, begin))
    assert reservations.make(runtime, ada, plan(2, begin)).id == made.id
    reservations.change(runtime, ada, made.id, Change(seats=5))
    reservations.change(runtime, ada, made.id, Change(seats=5))
    reservations.cancel(runtime, ada, made.id)
    reservations.cancel(runtime, ada, made.id)
    with pytest.raises(WrongState):
        reservations.change(runtime, ada, made.id, Change(seats=2))
    with runtime.database.reading() as db:
        log = db.scalars(select(Event.action).where(Event.kind == "reservation").order_by(Event.id)).all()
    assert log == ["reservation:make", "reservation:change", "reservation:cancel"]


def test_a_change_gives_no_lesser_machines_in_place_of_those_that_were_wished(runtime: Runtime) -> None:
    """Three machines with a GPU there are: not four of any kind, though the wish itself is not kept."""
    ada = admin(runtime)
    made = reservations.make(runtime, ada, plan(2, wish=Wish("light", gpus=1), pools=()))
    assert made.pools == {"light-dl": 2}
    with pytest.raises(NoRoomToReserve) as refused:
        reservations.change(runtime, ada, made.id, Change(seats=4))
    assert refused.value.facts["possible"] == 3
    assert reservations.change(runtime, ada, made.id, Change(seats=3)).pools == {"light-dl": 3}


def test_what_makes_no_sense_is_refused(runtime: Runtime) -> None:
    """And nobody but administrators reserves."""
    ada, begin = admin(runtime), now()
    with pytest.raises(Forbidden):
        reservations.make(runtime, somebody(runtime, "bob"), plan())
    for wrong in (plan(0), plan(2, begin, begin), plan(2, begin - HOUR, begin - HOUR / 2)):
        with pytest.raises(InvalidRequest):
            reservations.make(runtime, ada, wrong)
    for wrong in (plan(wish=Wish("nothing")), plan(pools=("nowhere",))):
        with pytest.raises(NotFound):
            reservations.make(runtime, ada, wrong)
    with pytest.raises(InvalidRequest):
        reservations.make(runtime, ada, plan(1, wish=Wish("secret"), pools=()))
