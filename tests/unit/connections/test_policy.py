"""What applies to a user: of the environment and of every policy that fits, the strictest."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connections.policy import (
    EVERYTHING,
    NOTHING,
    applying,
    by_ssh,
    in_words,
    not_allowed,
    rdp_clipboard,
    strictest,
)
from broker.settings import EnvironmentSettings, Policy, PolicySettings, Settings

GROUPS, USERS = ("few", "many", "guests"), ("alice", "bob")
allowed = dict.fromkeys(Policy.model_fields, st.booleans())
policies = st.builds(Policy, **allowed)
some = {"groups": st.lists(st.sampled_from(GROUPS)).map(tuple), "users": st.lists(st.sampled_from(USERS)).map(tuple)}
fitting = st.builds(PolicySettings, name=st.just("p"), **allowed, **some)
whose = {"user": st.sampled_from([*USERS, "carol"]), "groups": st.frozensets(st.sampled_from(GROUPS))}


def settings(own: Policy, more: dict[str, PolicySettings]) -> Settings:
    """Settings with one environment, and these policies."""
    one = EnvironmentSettings(name="light", title="", description="", roles=(), policy=own)
    return Settings.model_construct(environments={"light": one}, policies=more)


@hypothesis.settings(max_examples=40)
@given(own=policies, more=st.lists(fitting, max_size=4), **whose)
def test_a_thing_is_allowed_where_the_environment_and_every_policy_that_fits_allow_it(
    own: Policy, more: list[PolicySettings], user: str, groups: frozenset[str]
) -> None:
    """Said here once more, in other words; policies for others change nothing."""
    found = applying(settings(own, {str(n): one for n, one in enumerate(more)}), "light", user, groups)
    mine = [one for one in more if user in one.users or groups & set(one.groups) or not one.users + one.groups]
    for name in Policy.model_fields:
        assert getattr(found, name) == (getattr(own, name) and not any(not getattr(one, name) for one in mine))


@given(st.lists(policies, max_size=5))
def test_one_more_policy_never_allows_more(found: list[Policy]) -> None:
    """In whatever order they come; none at all allows everything."""
    before = EVERYTHING
    for number in range(len(found) + 1):
        now = strictest(found[:number])
        assert now == strictest(reversed(found[:number]))
        assert not [name for name in Policy.model_fields if getattr(now, name) > getattr(before, name)]
        before = now


def test_of_an_environment_that_left_the_settings_nothing_is_allowed() -> None:
    """Nobody knows any more what it allowed, and to take it out of the file must open nothing."""
    assert applying(settings(EVERYTHING, {}), "gone", "alice", ()) == NOTHING


@given(policies)
def test_each_thing_that_is_not_allowed_has_its_sentence(policy: Policy) -> None:
    """No more and no fewer."""
    assert set(not_allowed(policy)) == {name for name in Policy.model_fields if not getattr(policy, name)}
    assert len(in_words(policy)) == len(not_allowed(policy))
    assert all(sentence.endswith("is not allowed here.") for sentence in in_words(policy))


@pytest.mark.parametrize(
    ("forbidden", "ssh", "clipboard"),
    [
        ("clipboard_in", False, False),
        ("clipboard_out", False, False),
        ("files_in", False, True),
        ("files_out", False, True),
        ("printing", True, True),
        ("audio", True, True),
    ],
)
def test_a_door_that_cannot_tell_directions_apart_is_shut_in_both(forbidden: str, ssh: bool, clipboard: bool) -> None:
    """SSH as a whole, and of RDP its clipboard."""
    policy = EVERYTHING.model_copy(update={forbidden: False})
    assert (by_ssh(policy), rdp_clipboard(policy)) == (ssh, clipboard)
    assert by_ssh(EVERYTHING)
    assert rdp_clipboard(EVERYTHING)
