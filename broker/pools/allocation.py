"""Which pool? Pure: given plain values, it decides and explains.

Hard wishes must fit. Among the pools that fit, one with a vacant machine comes before one without, and one that has
or may build one before one that is full. The rest is weighed: each of `ranks()` judges a pool from 0 (best) to 1, the
deployment's Weights say how much each of them counts, and the least sum wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wish:
    """What a user asks for; None, 0 and "" mean no wish. `memory_gb` in GB.

    `prefer` and `near` only rank: the location that the user likes best, and the one where the data are. `groups` are
    the user's, for pools that are not open to all. `pool` is for programs that ask for a machine of this very pool,
    now: such a wish neither waits nor moves elsewhere.
    """

    environment: str
    location: str | None = None
    cores: int = 0
    memory_gb: float = 0
    gpus: int = 0
    gpu_model: str = ""
    architecture: str = ""
    prefer: str | None = None
    near: str | None = None
    groups: tuple[str, ...] = ()
    pool: str | None = None


@dataclass(frozen=True)
class Offer:
    """One pool as it stands. `place` is its cloud's title; `limit` is all it may hold, `room` what it may still add.

    `away` says why its cloud takes no part just now, "" where it does. `groups` are those that it is open to, none for
    all. `cost` is of an hour, in the operator's unit; `demand` the launches expected until a machine that is taken is
    replaced; `health` of its cloud goes from 0 (does not answer) to 1. `kept` says that machines are kept for
    others, where some are; those are not counted.
    """

    pool: str
    environment: str
    location: str
    place: str
    cores: int
    memory_gb: float
    gpus: int
    vacant: int
    coming: int
    room: int
    limit: int
    serving: bool
    gpu_model: str = ""
    architecture: str = "x86_64"
    groups: tuple[str, ...] = ()
    away: str = ""
    cost: float = 0.0
    preemptible: bool = False
    demand: float = 0.0
    health: float = 1.0
    kept: str = ""

    @property
    def size(self) -> str:
        """Its machines in words: "4 cores, 2 GPUs"."""
        gpus = f", {self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else ""
        return f"{self.cores} core{'s' if self.cores != 1 else ''}{gpus}"


@dataclass(frozen=True)
class Weights:
    """How much each rule counts when several pools fit; 0 is not at all.

    gpus: no GPU that nobody asked for; near: the data's location; health: the cloud's; prefer: the user's location;
    size: the smallest that fits; cost: the cheapest; steady: not pre-emptible; vacancies: many beyond the demand.
    """

    gpus: float = 8.0
    near: float = 4.0
    health: float = 3.0
    prefer: float = 2.0
    size: float = 1.0
    cost: float = 0.5
    steady: float = 0.5
    vacancies: float = 0.1


USUAL = Weights()


@dataclass(frozen=True)
class Choice:
    """The pool to take from, and why, in words for the user."""

    pool: str
    vacant: bool
    reason: str


@dataclass(frozen=True)
class Refusal:
    """No pool can ever serve the wish: for each one, why not."""

    unmet: tuple[str, ...]

    @property
    def reason(self) -> str:
        """All the reasons, in one sentence."""
        return "; ".join(self.unmet) or "no pool offers this environment"


def unmet(offer: Offer, wish: Wish) -> str | None:
    """The first hard wish that `offer` does not meet, as what is said of it: "has 4 cores, 8 wished"."""
    return next((words for rule in _RULES if (words := rule(offer, wish)) is not None), None)


def unmet_rule(offer: Offer, wish: Wish) -> str | None:
    """The same as a whole sentence that names the pool; None where it fits."""
    words = unmet(offer, wish)
    return f"{offer.pool} in {offer.place} {words}" if words is not None else None


def _another(offer: Offer, wish: Wish) -> str | None:
    return f"is not {wish.pool}" if wish.pool not in (None, offer.pool) else None


def _elsewhere(offer: Offer, wish: Wish) -> str | None:
    return f"is not in {wish.location}" if wish.location not in (None, offer.location) else None


def _too_small(offer: Offer, wish: Wish) -> str | None:
    for have, want, unit in (
        (offer.cores, wish.cores, "cores"),
        (offer.memory_gb, wish.memory_gb, "GB of memory"),
        (offer.gpus, wish.gpus, "GPUs"),
    ):
        if have < want:
            return f"has {have:g} {unit.removesuffix('s') if have == 1 else unit}, {want:g} wished"
    return None


def _of_another_kind(offer: Offer, wish: Wish) -> str | None:
    if wish.gpu_model and offer.gpu_model != wish.gpu_model:
        return f"has {offer.gpu_model or 'no GPU'}, {wish.gpu_model} wished"
    if wish.architecture and offer.architecture != wish.architecture:
        return f"is {offer.architecture}, {wish.architecture} wished"
    return None


def _closed(offer: Offer, wish: Wish) -> str | None:
    if offer.groups and set(offer.groups).isdisjoint(wish.groups):
        return "is kept for another group"
    if offer.away:
        return f"cannot be used: {offer.away}"
    if not offer.serving:
        return "is being drained"
    if not (offer.vacant or offer.coming or offer.limit):
        return "may hold no machine (its limit is 0)"
    return None


_RULES: tuple[Callable[[Offer, Wish], str | None], ...] = (
    _another,
    _elsewhere,
    _too_small,
    _of_another_kind,
    _closed,
)


def choose(wish: Wish, offers: Sequence[Offer], weights: Weights = USUAL) -> Choice | Refusal:
    """Pick the pool that serves `wish` best; a Refusal names every rule that no offer met."""
    best = ranked(wish, offers, weights)
    if not best:
        return refusal(wish, offers)
    return Choice(best[0].pool, best[0].vacant > 0, explain(best[0], best, wish, weights))


def refusal(wish: Wish, offers: Iterable[Offer]) -> Refusal:
    """What each pool of the environment does not meet."""
    candidates = (offer for offer in offers if offer.environment == wish.environment)
    return Refusal(tuple(rule for offer in candidates if (rule := unmet_rule(offer, wish))))


def ranked(wish: Wish, offers: Iterable[Offer], weights: Weights = USUAL) -> list[Offer]:
    """All pools that fit `wish`, best first."""
    fitting = [offer for offer in offers if offer.environment == wish.environment and unmet(offer, wish) is None]
    scale = _scale(fitting)

    def place(offer: Offer) -> tuple[bool, bool, float, int, int, str]:
        weighed = sum(weighted(offer, wish, weights, scale).values())
        return (*standing(offer), round(weighed, 9), -offer.vacant, -offer.coming, offer.pool)

    return sorted(fitting, key=place)


def standing(offer: Offer) -> tuple[bool, bool]:
    """What comes before all weights; less is better: has a vacant machine; has, or may build, one at all."""
    return offer.vacant == 0, not (offer.vacant or offer.coming or offer.room)


@dataclass(frozen=True)
class _Scale:
    """The most of each among the pools that fit: what makes a share of cores, memory and cost."""

    cores: int = 1
    memory_gb: float = 1.0
    gpus: int = 1
    cost: float = 1.0


def _scale(offers: Sequence[Offer]) -> _Scale:
    return _Scale(
        cores=max((offer.cores for offer in offers), default=1) or 1,
        memory_gb=max((offer.memory_gb for offer in offers), default=1.0) or 1.0,
        gpus=max((offer.gpus for offer in offers), default=1) or 1,
        cost=max((offer.cost for offer in offers), default=1.0) or 1.0,
    )


def weighted(offer: Offer, wish: Wish, weights: Weights, scale: _Scale) -> Mapping[str, float]:
    """What each rule holds against `offer`: from 0 to its weight."""
    return {
        "gpus": weights.gpus * max(0, offer.gpus - wish.gpus) / scale.gpus,
        "near": weights.near * (wish.near not in (None, offer.location)),
        "health": weights.health * (1.0 - offer.health),
        "prefer": weights.prefer * (wish.prefer not in (None, offer.location)),
        "size": weights.size * (0.9 * offer.cores / scale.cores + 0.1 * offer.memory_gb / scale.memory_gb),
        "cost": weights.cost * offer.cost / scale.cost,
        "steady": weights.steady * offer.preemptible,
        "vacancies": weights.vacancies / (1.0 + max(0.0, offer.vacant - offer.demand)),
    }


_WORDS = {  # of what the rest of the reason does not say yet
    "gpus": "keeps GPUs free",
    "health": "its cloud is well",
    "cost": "cheapest",
    "steady": "not pre-emptible",
}


def explain(best: Offer, fitting: Sequence[Offer], wish: Wish, weights: Weights) -> str:
    """Why `best`, in words for the user: "in Harwell, near your data, 4 cores: smallest that fits; 3 vacant"."""
    place = [f"in {best.place}"]
    if wish.near == best.location:
        place.append("near your data")
    elif wish.prefer == best.location:
        place.append("where you prefer")
    return f"{', '.join(place)}, {best.size}: {_why(best, fitting, wish, weights)}; {_now(best)}"


def _why(best: Offer, fitting: Sequence[Offer], wish: Wish, weights: Weights) -> str:
    smaller = [o for o in fitting if (o.cores, o.memory_gb) < (best.cores, best.memory_gb)]
    if len(fitting) == 1:
        return "the only one that fits"
    if smaller and all(standing(o) > standing(best) for o in smaller):
        return "smallest that is free"
    rivals = [o for o in fitting if o is not best and standing(o) == standing(best)]
    decided = _decided(best, rivals, wish, weights, _scale(fitting))
    others = [_WORDS[name] for name in decided if name in _WORDS]
    return ", ".join(["before smaller ones" if smaller else "smallest that fits", *others[:1]])


def _decided(best: Offer, rivals: Sequence[Offer], wish: Wish, weights: Weights, scale: _Scale) -> list[str]:
    """The rules that spoke for `best` against its nearest rival, the one that counted most first."""
    if not rivals:
        return []
    mine = weighted(best, wish, weights, scale)
    theirs = min((weighted(o, wish, weights, scale) for o in rivals), key=lambda found: sum(found.values()))
    gains = {name: theirs[name] - mine[name] for name in mine}
    return sorted((name for name in gains if gains[name] > 0), key=lambda name: -gains[name])


def _now(offer: Offer) -> str:
    if offer.vacant:
        return f"{offer.vacant} vacant"
    if offer.kept:
        return f"none vacant for you: the rest {offer.kept}"
    if offer.coming:
        return f"none vacant yet, {offer.coming} being made ready"
    return "none vacant, one is made on request" if offer.room else f"none vacant, all {offer.limit} are in use"
