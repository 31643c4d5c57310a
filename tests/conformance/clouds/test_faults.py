"""What the broker does where a cloud misbehaves: nothing is lost, leaked, built twice, or touched that is not ours."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.clouds.adapter import open_cloud
from broker.identity.rights import Role
from broker.identity.service import Person
from broker.pools import service
from broker.pools.models import LIVE, Machine, MachineState
from tests.conformance.clouds.conftest import Credential
from tests.conformance.clouds.fleet import Fleet, fleet
from tests.conformance.clouds.subjects import Subject
from tests.peers.proxy import Fault, be_late, change, cut, fail_with, hang_up, keep_silent, lose, say

M = MachineState
NewFleet = Callable[..., Fleet]
on_ec2 = pytest.mark.parametrize("subject", ["ec2"], indirect=True)
on_openstack = pytest.mark.parametrize("subject", ["openstack"], indirect=True)
FULL = '{"forbidden": {"code": 403, "message": "Quota exceeded for instances: Requested 1, but already used 10 of 10"}}'
EXPIRED = (
    "<Response><Errors><Error><Code>RequestExpired</Code><Message>Request has expired.</Message></Error></Errors>"
    "<RequestID>1</RequestID></Response>"
)
ADA = Person(user_id=1, name="ada", full_name="Ada", uid=1, role=Role.ADMIN, groups=frozenset())


def _compute_url(subject: Subject) -> str:
    options = subject.settings.options
    if "endpoint" in options:
        return options["endpoint"]
    driver = open_cloud(subject.settings).driver  # type: ignore[attr-defined]
    driver.list_sizes()
    return str(
        driver.connection.get_service_catalog().get_endpoint(service_type="compute", region=options["region"]).url
    )


@pytest.fixture
def new_fleet(subject: Subject, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[NewFleet]:
    """Makes the fleet of a test: new_fleet(build_timeout=2)."""
    monkeypatch.setenv("BEAMDESK_CONFIG", str(tmp_path / "beamdesk.toml"))
    with ExitStack() as stack:
        yield lambda **times: stack.enter_context(
            fleet(subject, _compute_url(subject), tmp_path, redis_url, monkeypatch, **times)
        )


@on_openstack
def test_a_cloud_where_nobody_answers_is_left_alone_and_another_takes_over(new_fleet: NewFleet) -> None:
    """Then it is back, and the pools are as they should be without anybody's help."""
    ships = new_fleet()
    ships.shaky.refuse()
    ships.until(lambda: ships.machines("steady") == {M.VACANT: 2}, "the steady cloud to keep one more")
    card = ships.clouds()["shaky"]
    assert card.breaker in ("open", "half-open")
    assert card.fault == "Shaky did not answer while listing machines: Connection refused."
    ships.heal()
    ships.until(ships.is_full, "the pools to be as before")
    assert ships.clouds()["shaky"].breaker == "closed"
    ships.must_be_sound()


@on_ec2
def test_whatever_stands_in_place_of_an_answer_the_cloud_counts_as_away_until_it_answers(new_fleet: NewFleet) -> None:
    """Silence ends by the time-out; its machine that was vacant stays so."""
    ships = new_fleet(away_after=2)
    ships.until(ships.is_full, "the pools to be full")
    for fault in (keep_silent(), hang_up(), cut(), say(503), say(200, "<html>"), say(401)):
        ships.shaky.when("GET", ".", fault)
        ships.until(lambda: ships.clouds()["shaky"].breaker != "closed", "the breaker to open")
        assert ships.machines("shaky") == {M.VACANT: 1}
        ships.heal()
        ships.until(lambda: ships.clouds()["shaky"].breaker == "closed", "the breaker to close")
        ships.until(ships.is_full, "the pools to be as before")
    ships.must_be_sound()


@on_openstack
@pytest.mark.parametrize("fault", [lose(), be_late(3), fail_with(500)], ids=["lost", "late", "failed"])
def test_a_build_whose_answer_was_wrong_makes_one_machine(new_fleet: NewFleet, fault: Fault) -> None:
    """Asked for again under the same request, it is found."""
    ships = new_fleet()
    ships.shaky.when(*ships.wire.create, fault, times=2)
    ships.until(ships.is_full, "the pools to be full")
    assert len(ships.shaky.requests(*ships.wire.create)) == 1
    assert len(ships.nodes()) == 2
    ships.must_be_sound()


@on_openstack
def test_a_cloud_that_lists_and_builds_nothing_is_asked_less_and_less_and_another_takes_over(
    new_fleet: NewFleet,
) -> None:
    """Its list, which is whole all the time, makes nothing of that undone."""
    ships = new_fleet(retry_longest=60)
    ships.shaky.when(*ships.wire.create, say(500))
    ships.until(lambda: ships.machines("steady") == {M.VACANT: 2}, "the steady cloud to keep one more")
    with ships.runtime.database.reading() as db:
        [tries] = db.scalars(select(Machine.tries).where(Machine.pool == "shaky", Machine.state.in_(LIVE)))
    assert 3 <= tries <= len(ships.shaky.requests(*ships.wire.create))
    card = ships.pools()["shaky"]
    assert card.degraded
    assert "Shaky said no while building" in (card.failure or "")
    ships.heal()
    ships.until(ships.is_full, "the pools to be as before")
    ships.must_be_sound()


@on_openstack
def test_a_mistake_in_the_settings_is_named_with_the_clouds_answer(new_fleet: NewFleet) -> None:
    """On the card of the pool that cannot be filled."""
    ships = new_fleet()
    ships.mistake("shaky", "desktop-99")
    ships.until(lambda: ships.pools()["shaky"].failure, "the cloud to refuse")
    failure = ships.pools()["shaky"].failure or ""
    assert failure.startswith("Shaky has no image desktop-99. It was asked with sizes.small.ids.shaky = 'm1.tiny', ")
    assert "clouds.shaky.image = 'desktop-99'" in failure


@on_ec2
def test_a_clock_that_is_off_is_said_by_the_cloud_and_ends_with_it(new_fleet: NewFleet) -> None:
    """Amazon refuses a signature of another time; nothing is lost meanwhile."""
    ships = new_fleet()
    ships.until(ships.is_full, "the pools to be full")
    ships.shaky.when("GET", ".", say(400, EXPIRED))
    ships.until(lambda: ships.clouds()["shaky"].breaker != "closed", "the breaker to open")
    assert "RequestExpired" in (ships.clouds()["shaky"].fault or "")
    ships.heal()
    ships.until(lambda: ships.clouds()["shaky"].breaker == "closed", "the breaker to close")
    ships.until(ships.is_full, "the pools to be as before")
    ships.must_be_sound()


@on_openstack
def test_a_cloud_that_is_full_fails_nobody_and_another_takes_over(new_fleet: NewFleet) -> None:
    ships = new_fleet(degraded_after=2)
    ships.shaky.when(*ships.wire.create, say(403, FULL))
    ships.until(lambda: ships.machines("steady")[M.VACANT] == 2, "the steady cloud to keep one more")
    assert ships.clouds()["shaky"].breaker == "closed"
    assert "Quota exceeded" in (ships.pools()["shaky"].failure or "")
    ships.heal()
    ships.until(ships.is_full, "the pools to be as before")
    ships.must_be_sound()


@on_openstack
def test_a_cloud_that_wants_fewer_requests_is_not_asked_before_the_time_it_names(new_fleet: NewFleet) -> None:
    ships = new_fleet()
    ships.shaky.when(*ships.wire.list, say(429, Retry_After="2"), times=1)
    ships.until(ships.is_full, "the pools to be full")
    first, second = [at for at, _, _ in ships.shaky.seen][:2]
    assert second - first >= 2


@on_ec2
def test_pauses_grow_while_a_cloud_is_away(new_fleet: NewFleet) -> None:
    """Asked at once some 20 times a second; away, about once a second here, and less often on a busy machine."""
    ships = new_fleet()
    ships.shaky.when("GET", ".", say(503))
    began = time.monotonic()
    ships.until(lambda: time.monotonic() - began > 4, "four seconds to pass")
    assert 2 <= len(ships.shaky.requests("GET", ".")) <= 12


@on_ec2
def test_a_slow_cloud_holds_no_other_up(new_fleet: NewFleet) -> None:
    """While its list takes longer than a pass, the other's pool is filled."""
    ships = new_fleet()
    ships.shaky.when(*ships.wire.list, be_late(1.8))
    ships.tick()
    began = time.monotonic()
    ships.until(lambda: ships.machines("steady") == {M.VACANT: 1}, "the steady pool to be full")
    assert len(ships.shaky.requests(*ships.wire.list)) <= (time.monotonic() - began) / 1.8 + 2
    ships.until(ships.is_full, "the slow cloud's pool to be full, too")
    ships.must_be_sound()


@on_openstack
def test_a_machine_that_is_never_removed_is_asked_for_again_and_again_and_keeps_its_place(new_fleet: NewFleet) -> None:
    """With pauses that grow; it counts against the limit, because it is there."""
    ships = new_fleet()
    ships.until(ships.is_full, "the pools to be full")
    ships.shaky.when(*ships.wire.destroy, say(204))
    service.drain(ships.runtime, ADA, "shaky")
    ships.until(lambda: len(ships.shaky.requests(*ships.wire.destroy)) >= 3, "it to be asked for three times")
    assert ships.machines("shaky") == {M.DELETING: 1}
    ships.heal()
    ships.until(lambda: not ships.machines("shaky"), "it to go")
    ships.must_be_sound()


@on_ec2
def test_a_list_that_misses_nodes_or_has_them_twice_changes_nothing(new_fleet: NewFleet) -> None:
    ships = new_fleet()
    ships.until(ships.is_full, "the pools to be full")
    before = {node.id for node in ships.nodes()}
    whole = re.compile(rb"<reservationSet>(.*)</reservationSet>", re.DOTALL)
    for edit in (rb"<reservationSet></reservationSet>", rb"<reservationSet>\1\1</reservationSet>"):
        ships.shaky.when(*ships.wire.list, change(lambda body, edit=edit: whole.sub(edit, body)), times=2)
        asked = len(ships.shaky.requests(*ships.wire.list))
        ships.until(lambda n=asked: len(ships.shaky.requests(*ships.wire.list)) > n + 4, "four more lists")
        assert ships.is_full()
    assert {node.id for node in ships.nodes()} == before


@on_ec2
def test_a_node_that_stays_half_built_is_replaced(new_fleet: NewFleet) -> None:
    """It runs, and never gets an address."""
    ships = new_fleet(build_timeout=5)
    bare = re.compile(rb"<privateIpAddress>[^<]*</privateIpAddress>|<ipAddress>[^<]*</ipAddress>")
    ships.shaky.when(*ships.wire.list, change(lambda body: bare.sub(b"", body)))
    ships.until(lambda: ships.pools()["shaky"].failures == 1, "the pool to notice")
    assert "it runs, and has no address 5 s after it was asked for" in (ships.pools()["shaky"].failure or "")
    ships.heal()
    ships.until(ships.is_full, "another one to be built")
    ships.must_be_sound()


@on_openstack
def test_a_node_that_breaks_is_replaced(new_fleet: NewFleet) -> None:
    """The cloud calls it ERROR."""
    ships = new_fleet()
    ships.until(ships.is_full, "the pools to be full")
    [broken] = [node.id for node in ships.nodes() if node.tags["beamdesk-cloud"] == "shaky"]
    ships.shaky.when(*ships.wire.list, change(lambda body: body.replace(b'"ACTIVE"', b'"ERROR"')), times=1)
    ships.until(lambda: ships.pools()["shaky"].failures, "the pool to notice")
    ships.until(ships.is_full, "another one to be built")
    assert broken not in {node.id for node in ships.nodes()}
    ships.must_be_sound()


@on_ec2
def test_a_vacant_machine_that_a_cloud_takes_back_is_just_replaced(subject: Subject, new_fleet: NewFleet) -> None:
    """Pre-emptible ones: no failure is counted, and the pool does not wait before it builds."""
    ships = new_fleet()
    ships.make_preemptible("shaky")
    ships.until(ships.is_full, "the pools to be full")
    [taken] = [node.id for node in ships.nodes() if node.tags["beamdesk-cloud"] == "shaky"]
    open_cloud(subject.settings).destroy(taken)
    ships.until(lambda: not ships.is_full(), "it to be missed")
    ships.until(ships.is_full, "another one to be built")
    assert ships.pools()["shaky"].failures == 0
    assert ships.machines()[M.FAILED] == 0
    ships.must_be_sound()


@on_ec2
def test_a_node_of_ours_that_nobody_claims_goes_and_others_nodes_stay(subject: Subject, new_fleet: NewFleet) -> None:
    ships = new_fleet()
    cloud = open_cloud(subject.settings.model_copy(update={"name": "shaky"}))
    lost = cloud.build(subject.spec("999", "fleet"))
    stranger = cloud.build(subject.spec("999", "somebody-elses"))
    ships.until(ships.is_full, "the pools to be full")
    ships.until(lambda: lost.id not in {node.id for node in ships.nodes()}, "the orphan to go")
    found = cloud.find(stranger.id)
    assert found is not None
    assert found.state == "running"
    cloud.destroy(stranger.id)
    ships.must_be_sound()


@on_openstack
def test_a_cloud_whose_credential_is_revoked_says_so_and_serves_again_with_a_new_one(
    new_fleet: NewFleet, new_credential: Callable[[], Credential]
) -> None:
    """Keystone itself takes it away; its machine that was vacant stays so.

    Nova goes on believing in a token for some minutes: the proxy shortens that.
    """
    ships, first = new_fleet(), new_credential()
    ships.sign_in_anew("shaky", first.options)
    ships.until(ships.is_full, "the pools to be full")
    first.revoke()
    ships.shaky.when("GET", ".", say(401), times=1)
    ships.until(lambda: ships.clouds()["shaky"].breaker != "closed", "the breaker to open")
    assert "said no while listing machines" in (ships.clouds()["shaky"].fault or "")
    assert ships.machines("shaky") == {M.VACANT: 1}
    ships.sign_in_anew("shaky", new_credential().options)
    ships.until(lambda: ships.clouds()["shaky"].breaker == "closed", "the breaker to close")
    ships.until(ships.is_full, "the pools to be as before")
    ships.must_be_sound()


@on_openstack
def test_a_drained_cloud_is_emptied_and_another_stands_in(new_fleet: NewFleet) -> None:
    """And it is filled again where an administrator says so."""
    ships = new_fleet()
    ships.until(ships.is_full, "the pools to be full")
    service.drain_cloud(ships.runtime, ADA, "shaky")
    ships.until(lambda: ships.is_full(shaky=0, steady=2), "the drained cloud to be empty")
    service.resume_cloud(ships.runtime, ADA, "shaky")
    ships.until(ships.is_full, "the pools to be as before")
    ships.must_be_sound()
