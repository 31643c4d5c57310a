"""How pools that fit are weighed, what else there is, and why not."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.pools.allocation import Choice, Offer, Refusal, Weights, Wish, choose, ranked, unmet
from broker.pools.alternatives import alternatives, why_not
from broker.settings import AllocationSettings
from tests.unit.pools.test_decisions import offers as some_offers
from tests.unit.pools.test_decisions import wishes

RAL = Offer("ral", "light", "ral", "Harwell", 4, 8, 0, vacant=3, coming=0, room=2, limit=5, serving=True)
CAM = replace(RAL, pool="cam", location="cam", place="Cambridge")
FULL = {"vacant": 0, "coming": 0, "room": 0}


def chosen(wish: Wish, *offers: Offer, weights: Weights = Weights()) -> Choice:  # noqa: B008 - frozen
    """The choice, which there is."""
    found = choose(wish, offers, weights)
    assert isinstance(found, Choice), found
    return found


@pytest.mark.parametrize(
    ("wish", "other", "words"),
    [
        (Wish("light", near="cam"), {}, "in Cambridge, near your data, 4 cores: smallest that fits; 3 vacant"),
        (Wish("light", prefer="cam"), {}, "in Cambridge, where you prefer, 4 cores: smallest that fits; 3 vacant"),
        (Wish("light"), {"cores": 2}, "in Cambridge, 2 cores: smallest that fits; 3 vacant"),
        (Wish("light"), {"vacant": 9}, "in Cambridge, 4 cores: smallest that fits; 9 vacant"),
        (
            Wish("light", near="cam"),
            {"cores": 8},
            "in Cambridge, near your data, 8 cores: before smaller ones; 3 vacant",
        ),
    ],
    ids=["near the data", "preferred", "smallest", "most to spare", "nearer though larger"],
)
def test_the_better_of_two_pools_is_chosen_and_why(wish: Wish, other: dict[str, int], words: str) -> None:
    """Each rule decides where nothing else differs, and where one is nearer to the data, over size."""
    better = replace(CAM, **other)  # type: ignore[arg-type]
    assert chosen(wish, RAL, better).reason == words
    assert chosen(wish, better, RAL).pool == "cam"


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ({"preemptible": True}, ", not pre-emptible"),
        ({"health": 0.2}, ", its cloud is well"),
        ({"gpus": 1}, ", keeps GPUs free"),
        ({"cost": 2.0}, ", cheapest"),
        ({"demand": 3.0}, ""),
    ],
)
def test_what_speaks_against_a_pool_lets_another_come_first(flaw: dict[str, float], words: str) -> None:
    """A pre-emptible machine, an ailing cloud, a GPU nobody asked for, a price, vacancies that are as good as gone."""
    found = chosen(Wish("light"), replace(RAL, **flaw), replace(CAM, cost=1.0 if "cost" in flaw else 0.0))  # type: ignore[arg-type]
    assert found.reason == f"in Cambridge, 4 cores: smallest that fits{words}; 3 vacant"


def test_weights_decide_which_rule_wins() -> None:
    """Who weighs cost above nearness gets the cheaper machine."""
    near, cheap = replace(CAM, cost=2.0), replace(RAL, cost=0.1)
    wish = Wish("light", near="cam")
    assert chosen(wish, near, cheap).pool == "cam"
    assert chosen(wish, near, cheap, weights=Weights(cost=9)).pool == "ral"


def test_the_settings_defaults_are_the_usual_weights() -> None:
    """Written in both places, and the same."""
    assert AllocationSettings().model_dump() == asdict(Weights())


@pytest.mark.parametrize(
    ("wish", "flaw", "words"),
    [
        (Wish("light", gpu_model="A100"), {"gpus": 1, "gpu_model": "T4"}, "has T4, A100 wished"),
        (Wish("light", architecture="aarch64"), {}, "is x86_64, aarch64 wished"),
        (Wish("light", groups=("ccp4",)), {"groups": ("isis",)}, "is kept for another group"),
        (Wish("light"), {"away": "its cloud is being drained"}, "cannot be used: its cloud is being drained"),
        (Wish("light"), {"serving": False}, "is being drained"),
        (Wish("light", location="dl"), {}, "is not in dl"),
    ],
)
def test_hard_wishes_are_never_weighed(wish: Wish, flaw: dict[str, object], words: str) -> None:
    """However good the pool is otherwise; and the refusal says which rule."""
    refused = choose(wish, [replace(RAL, **flaw)])  # type: ignore[arg-type]
    assert isinstance(refused, Refusal)
    assert refused.reason == f"ral in Harwell {words}"


def test_a_pool_of_a_group_serves_the_group() -> None:
    """And prefers nobody else's."""
    kept = replace(RAL, groups=("isis", "ccp4"))
    assert unmet(kept, Wish("light", groups=("ccp4",))) is None


def test_the_next_best_is_a_smaller_one_now_or_the_larger_after_a_wait() -> None:
    """As "4 cores at Cambridge now, or 8 at Daresbury in 3 min", while the wished pool takes long."""
    wished = replace(RAL, cores=8, **FULL)
    other = replace(CAM, pool="dl", location="dl", place="Daresbury", cores=8, **FULL)
    wish = Wish("light", cores=8, location="ral")
    found = alternatives(wish, [wished, CAM, other], {"ral": 3600.0, "dl": 180.0, "cam": 0.0})
    assert [(a.pool, a.wait_seconds) for a in found] == [("cam", 0.0), ("dl", 180.0)]
    assert found[0].wish == replace(wish, cores=4, location="cam")
    assert found[1].wish == replace(wish, location="dl")


def test_nothing_else_is_offered_to_who_is_served_at_once() -> None:
    """Nor what takes longer, is closed, or of which nobody knows how long it takes."""
    assert alternatives(Wish("light", cores=4), [RAL, replace(CAM, cores=2)], {}) == []
    waiting = [replace(RAL, **FULL), replace(CAM, cores=2, **FULL)]
    assert alternatives(Wish("light", cores=4), waiting, {"ral": 60.0, "cam": 90.0}) == []
    assert alternatives(Wish("light", cores=4), waiting, {"ral": 60.0, "cam": None}) == []
    kept = [replace(RAL, **FULL), replace(CAM, cores=2, groups=("isis",))]
    assert alternatives(Wish("light", cores=4), kept, {"ral": 60.0}) == []


@given(wishes, some_offers, st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(1, 999) | st.none()))
def test_each_alternative_is_sooner_and_can_be_had(
    wish: Wish, found: list[Offer], waits: dict[str, float | None]
) -> None:
    """Its wish is met by its pool, and no pool that serves the present wish is as quick."""
    others = alternatives(wish, found, waits)
    pools = {offer.pool: offer for offer in found}
    mine = [0.0 if offer.vacant else waits.get(offer.pool) for offer in ranked(wish, found)]
    assert len(others) <= 3
    for other in others:
        assert unmet(pools[other.pool], other.wish) is None
        assert all(wait is None or other.wait_seconds < max(wait, 1.0) for wait in mine)


def test_every_pool_without_a_machine_for_the_wish_says_why() -> None:
    """Full, being made ready, made on request, too small; one that has a machine says nothing."""
    small = replace(CAM, pool="small", cores=1)
    pools = [replace(RAL, **FULL), replace(CAM, **FULL, **{}), small, replace(RAL, pool="ok", cores=8)]
    pools[1] = replace(CAM, vacant=0, coming=2)
    made = replace(CAM, pool="made", vacant=0)
    found = {entry.pool: entry.reason for entry in why_not(Wish("light", cores=2), [*pools, made])}
    assert found == {
        "ral": "is full: all 5 machines that it may have are in use",
        "cam": "has none vacant; 2 are being made ready",
        "made": "has none vacant; one is made on request",
        "small": "has 1 core, 2 wished",
    }
