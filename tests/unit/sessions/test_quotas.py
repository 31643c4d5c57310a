"""Quotas of users, environments and groups: what they say, and that two at once cannot pass them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.errors import OverQuota, WrongState
from broker.identity.service import Person, create_account
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import quotas, service, waiting, wishes
from broker.sessions.models import SessionState, UserSession
from broker.sessions.rules import Quota, must_have_room
from broker.settings import LimitSettings, QuotaSettings
from tests.conftest import NewPerson


def with_quotas(runtime: Runtime, **changes: object) -> Runtime:
    """The same deployment with other settings."""
    return Runtime(runtime.settings.model_copy(update=changes), runtime.database)


def fill(runtime: Runtime, pool: str, number: int) -> None:
    """So many vacant machines."""
    found = runtime.settings.pools[pool]
    where = {"environment": found.environment, "size": found.size, "cloud": found.cloud}
    with runtime.database.transaction() as db:
        db.add_all(Machine(pool=pool, state=MachineState.VACANT, **where) for _ in range(number))


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        (
            Quota("limits.sessions_per_user", 3, 3, by={"light": 2, "science": 1}),
            "You have 3 of 3 sessions that you may have at a time (light 2, science 1).",
        ),
        (
            Quota("quotas.ccp4.cores", 16, 14, 4, "cores", "The group ccp4", {"light": 5}),
            "The group ccp4 has 14 of 16 cores that it may have at a time (light 5); 4 more are needed.",
        ),
    ],
)
def test_a_quota_that_is_used_up_says_which_how_much_and_by_what(quota: Quota, words: str) -> None:
    """In words for people, and as facts for programs."""
    with pytest.raises(OverQuota) as refused:
        must_have_room([quota])
    assert refused.value.message == words
    assert refused.value.facts["quota"] == quota.name
    assert refused.value.facts["by"] == quota.by


def test_what_needs_nothing_of_a_quota_is_not_stopped_by_it() -> None:
    """A group without a GPU to spare still runs machines that have none."""
    must_have_room([Quota("quotas.a.gpus", 2, 3, 0, "GPUs", "The group a")])


def launched(runtime: Runtime, person: Person, environment: str = "light") -> UserSession | str:
    """The session, or the quota that stands against it."""
    try:
        return service.request(runtime, person, Wish(environment), another=True)
    except OverQuota as error:
        return str(error.facts["quota"])


def test_two_at_once_cannot_pass_a_quota_of_a_group_or_an_environment(each_runtime: Runtime) -> None:
    """Sixteen people of one group launch at the same moment; exactly as many are let in as the quota says."""
    environments = dict(each_runtime.settings.environments)
    environments["science"] = environments["science"].model_copy(update={"sessions": 3})
    runtime = with_quotas(each_runtime, environments=environments, quotas={"ccp4": QuotaSettings(cores=5)})
    fill(runtime, "light-ral", 12)
    fill(runtime, "science-ral", 12)
    people = [create_account(runtime, f"user{n}", "U", "secret-password", groups=("ccp4",)) for n in range(16)]
    others = [create_account(runtime, f"other{n}", "U", "secret-password") for n in range(16)]
    with ThreadPoolExecutor(16) as threads:
        light = list(threads.map(lambda who: launched(runtime, who), people))
        science = list(threads.map(lambda who: launched(runtime, who, "science"), others))
    assert sum(isinstance(found, UserSession) for found in light) == 5
    assert {found for found in light if isinstance(found, str)} == {"quotas.ccp4.cores"}
    assert sum(isinstance(found, UserSession) for found in science) == 3
    assert {found for found in science if isinstance(found, str)} == {"environments.science.sessions"}


def test_a_person_of_several_groups_counts_for_one_that_has_room(runtime: Runtime, new_person: NewPerson) -> None:
    """The one with the greatest share first; only where none has room is the launch refused."""
    limits = {"few": QuotaSettings(sessions=1), "many": QuotaSettings(sessions=1)}
    runtime = with_quotas(runtime, quotas=limits, shares={"many": 2.0})
    both = new_person("bob", groups=("few", "many"))
    groups = [launched(runtime, both) for _ in range(3)]
    assert [found.group if isinstance(found, UserSession) else found for found in groups] == [
        "many",
        "few",
        "quotas.many.sessions",
    ]


def test_a_quota_of_cores_takes_the_machine_that_fits_into_it(runtime: Runtime, new_person: NewPerson) -> None:
    """The large one is vacant, and would pass the quota: the session waits for the small one."""
    runtime = with_quotas(runtime, quotas={"few": QuotaSettings(cores=2)})
    fill(runtime, "light-dl", 1)
    session = service.request(runtime, new_person("bob", groups=("few",)), Wish("light"))
    assert (session.state, session.pool) == (SessionState.QUEUED, "light-ral")


def test_the_environments_own_limit_per_user_is_held(runtime: Runtime, person: Person) -> None:
    """Beside the limit on all of one's sessions."""
    environments = dict(runtime.settings.environments)
    environments["light"] = environments["light"].model_copy(update={"sessions_per_user": 1})
    runtime = with_quotas(runtime, environments=environments)
    assert isinstance(launched(runtime, person), UserSession)
    assert launched(runtime, person) == "environments.light.sessions_per_user"
    with runtime.database.reading() as db:
        shown = quotas.shown(db, runtime.settings, person, ["light"])
    assert {quota.name: quota.used for quota in shown} == {
        "limits.sessions_per_user": 1,
        "environments.light.sessions_per_user": 1,
    }


def test_one_user_with_many_sessions_does_not_keep_others_waiting(runtime: Runtime, new_person: NewPerson) -> None:
    """The places that are shown are the order in which machines will be given."""
    runtime = with_quotas(runtime, limits=LimitSettings(sessions_per_user=9))
    many, other = new_person("alice"), new_person("bob")
    first, second, third = (service.request(runtime, many, Wish("light"), another=True).id for _ in range(3))
    late = service.request(runtime, other, Wish("light")).id
    with runtime.database.reading() as db:
        assert [waiter.id for waiter in waiting.line_up(db, runtime.settings)] == [first, late, second, third]
        assert waiting.look(db, runtime.settings).place("light-ral", late) == 2


def test_who_waits_takes_the_next_best_at_once_and_once(runtime: Runtime, new_person: NewPerson) -> None:
    """A smaller wish is served by a vacant machine; the same request again changes nothing, another is too late."""
    fill(runtime, "light-ral", 1)
    person = new_person("alice")
    session = service.request(runtime, person, Wish("light", cores=4))
    assert session.state == SessionState.QUEUED
    with runtime.database.reading() as db:
        found = wishes.prospects(runtime.settings, waiting.look(db, runtime.settings), session)
    assert [(other.pool, other.wait_seconds) for other in found.alternatives] == [("light-ral", 0.0)]
    wished = found.alternatives[0].facts()["wish"]
    assert isinstance(wished, dict)
    assert wishes.change(runtime, person, session.id, wished).state == SessionState.PREPARING
    again = wishes.change(runtime, person, session.id, wished)
    assert (again.state, again.pool, again.tries) == (SessionState.PREPARING, "light-ral", 1)
    with pytest.raises(WrongState):
        wishes.change(runtime, person, session.id, {"cores": 4})


def test_a_changed_wish_does_not_overtake_those_who_wait_already(runtime: Runtime, new_person: NewPerson) -> None:
    """The one vacant machine belongs to who waited for it first, in the moment before it is given."""
    bob = service.request(runtime, new_person("bob"), Wish("light")).id
    carol = service.request(runtime, new_person("carol"), Wish("light", cores=4))
    fill(runtime, "light-ral", 1)
    changed = wishes.change(runtime, new_person("carol"), carol.id, {"cores": 1})
    assert (changed.state, changed.pool) == (SessionState.QUEUED, "light-ral")
    with runtime.database.reading() as db:
        assert waiting.look(db, runtime.settings).waiting["light-ral"] == [bob, carol.id]


def test_a_pool_of_a_group_gives_nothing_to_others(runtime: Runtime, new_person: NewPerson) -> None:
    """Its vacant machine stays vacant while others wait."""
    pools = dict(runtime.settings.pools)
    pools["light-dl"] = pools["light-dl"].model_copy(update={"groups": ("few",)})
    runtime = with_quotas(runtime, pools=pools)
    fill(runtime, "light-dl", 1)
    assert service.request(runtime, new_person("bob"), Wish("light")).pool == "light-ral"
    assert service.request(runtime, new_person("carol", groups=("few",)), Wish("light")).pool == "light-dl"
