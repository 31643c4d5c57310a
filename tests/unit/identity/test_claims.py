"""What claims say: names fit for Linux, groups of all three kinds, and identifiers that somebody verified."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.identity.claims import RESERVED, account_name, identifier, local_groups, merged, numbered, profile
from broker.identity.service import USER_NAME
from broker.settings import ProviderSettings


def settings(**more: Any) -> ProviderSettings:
    told = {"title": "Facility", "issuer": "https://id.example", "client_id": "beamdesk", "client_secret_env": "SECRET"}
    return ProviderSettings.model_validate({**told, **more})


@given(st.text(max_size=80), st.integers(1, 99_999))
def test_every_name_becomes_one_that_linux_takes(wanted: str, number: int) -> None:
    """Whatever a provider calls somebody; also with a number behind it."""
    name = account_name(wanted)
    assert USER_NAME.match(name)
    assert USER_NAME.match(numbered(name, number))
    assert name not in RESERVED


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("alice", "alice"),
        ("Alice.Muon@stfc.ac.uk", "alice-muon"),
        ("Zoë Müller", "zoe-muller"),
        ("root", "root-x"),
        ("daemon@evil.example", "daemon-x"),
        ("systemd-network", "systemd-network-x"),
        ("123", "user"),
        ("李", "user"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 60, "a" * 31),
        ("$(reboot)", "reboot"),
    ],
)
def test_names_stay_as_near_as_they_can(wanted: str, name: str) -> None:
    """So that people recognise themselves; and nobody becomes an account that machines have."""
    assert account_name(wanted) == name


GROUPS: dict[str, Any] = {
    "groups": ["dls", "isis-excitations"],
    "wlcg.groups": ["/isis/excitations"],
    "eduperson_entitlement": [
        "urn:mace:egi.eu:group:vo.isis:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:vo.isis:excitations:role=vm_operator#aai.egi.eu",
        "urn:mace:egi.eu:group:a%2Fb",
        "urn:mace:evil.example:group:isis-admins#evil.example",
        "urn:mace:dir:entitlement:common-lib-terms",
    ],
}


def test_groups_come_from_all_three_kinds_of_claims() -> None:
    """Plain ones, WLCG's paths and AARC-G069's URNs; of these only the namespaces that the settings name."""
    found = local_groups(GROUPS, settings(entitlement_namespaces=["urn:mace:egi.eu"]))
    assert found == {
        *("dls", "isis-excitations", "/isis/excitations"),
        *("vo.isis", "vo.isis:role=member", "vo.isis:excitations:role=vm_operator", "a/b"),
    }


def test_an_entitlement_counts_only_by_whom_the_settings_name() -> None:
    """A proxy hands on what any university says: nobody makes an administrator by a URN of their own."""
    assert local_groups(GROUPS, settings()) == {"dls", "isis-excitations", "/isis/excitations"}


def test_groups_are_given_local_names() -> None:
    """And those without one can be left out."""
    mapping = {"/isis/excitations": "instrument-scientists"}
    assert local_groups(GROUPS, settings(groups=mapping)) == {"dls", "isis-excitations", "instrument-scientists"}
    assert local_groups(GROUPS, settings(groups=mapping, keep_other_groups=False)) == {"instrument-scientists"}


def test_a_claim_inside_another_is_found() -> None:
    """As Keycloak has it; a name with a dot in it comes first."""
    claims = {"realm_access": {"roles": ["users"]}, "wlcg.groups": "/one"}
    wanted = settings(group_claims=["realm_access.roles", "wlcg.groups", "nothing.here"])
    assert local_groups(claims, wanted) == {"users", "/one"}


@pytest.mark.parametrize("value", [None, 7, {"a": 1}, [None, 7, ["x"]], "", ["x" * 200], ["a\x00b", "line\nbreak"]])
def test_claims_of_another_form_give_no_group(value: Any) -> None:
    """Nothing breaks."""
    assert local_groups({"groups": value}, settings()) == frozenset()


def test_administrators_are_known_by_their_group() -> None:
    """By its local name."""
    wanted = settings(groups={"daaas-admins": "operators"}, admin_groups=["operators"], keep_other_groups=False)
    assert profile({"groups": ["daaas-admins"]}, wanted).is_admin
    assert not profile({"groups": ["operators"]}, wanted).is_admin


def test_who_is_in_none_of_the_groups_may_not_enter() -> None:
    """An international provider knows everybody."""
    wanted = settings(only_groups=["vo.isis"])
    assert profile({"groups": ["vo.isis"]}, wanted).may_enter
    assert not profile({"groups": ["vo.other"]}, wanted).may_enter


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_email_that_nobody_verified_identifies_nobody(verified: Any) -> None:
    """Only the boolean true is true."""
    assert identifier({"email": "a@b.example", "email_verified": verified}, "email") is None


def test_identifiers_carry_their_kind() -> None:
    """An email never equals another claim of the same text; letters' case counts for an email only not."""
    claims = {"email": "A@B.example", "email_verified": True, "voperson_id": "A@B.example"}
    assert identifier(claims, "email") == "email:a@b.example"
    assert identifier(claims, "voperson_id") == "voperson_id:A@B.example"
    assert identifier(claims, None) is None


def test_userinfo_has_no_say_in_who_the_person_is() -> None:
    """It is the fresher word on the rest."""
    token = {"sub": "alice", "iss": "https://id.example", "sid": "1", "name": "Old"}
    both = merged(token, {"sub": "mallory", "iss": "https://evil.example", "sid": "2", "name": "New", "groups": ["x"]})
    assert both == {"sub": "alice", "iss": "https://id.example", "sid": "1", "name": "New", "groups": ["x"]}


def test_a_full_name_is_one_line_of_text() -> None:
    """It is shown on pages and in desktops."""
    found = profile({"name": " Eve\n\x1b[31m  Line\t", "preferred_username": "eve"}, settings())
    assert re.fullmatch(r"[ -~]+", found.full_name)
    assert found.wanted_name == "eve"
