"""Which pool? Pure: given plain values, it decides and explains.

Hard wishes must fit; among the pools that fit, one with a vacant machine comes before one without, one that has or
may build one before one that is full, the smallest that fits before larger ones (so that large machines stay for
large wishes), no GPU where none was asked for, then the pool with the most vacancies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wish:
    """What a user asks for; None and 0 mean no wish. `memory_gb` in GB.

    `pool` is for programs that ask for a machine of this very pool, now: such a wish neither waits nor moves elsewhere.
    """

    environment: str
    location: str | None = None
    cores: int = 0
    memory_gb: float = 0
    gpus: int = 0
    pool: str | None = None


@dataclass(frozen=True)
class Offer:
    """One pool as it stands. `place` is its cloud's title; `limit` is all it may hold, `room` what it may still add."""

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


def unmet_rule(offer: Offer, wish: Wish) -> str | None:
    """The first hard wish that `offer` does not meet, in words; None where it fits."""
    if wish.pool is not None and offer.pool != wish.pool:
        return f"{offer.pool} is not {wish.pool}"
    if wish.location is not None and offer.location != wish.location:
        return f"{offer.pool} is in {offer.place}, not {wish.location}"
    for have, want, unit in (
        (offer.cores, wish.cores, "cores"),
        (offer.memory_gb, wish.memory_gb, "GB of memory"),
        (offer.gpus, wish.gpus, "GPUs"),
    ):
        if have < want:
            return f"{offer.pool} in {offer.place} has {have:g} {unit}, {want:g} wished"
    if not offer.serving:
        return f"{offer.pool} in {offer.place} is being drained"
    if not (offer.vacant or offer.coming or offer.limit):
        return f"{offer.pool} in {offer.place} may hold no machine (its limit is 0)"
    return None


def choose(wish: Wish, offers: Sequence[Offer]) -> Choice | Refusal:
    """Pick the pool that serves `wish` best; a Refusal names every rule that no offer met."""
    candidates = [offer for offer in offers if offer.environment == wish.environment]
    fitting = [offer for offer in candidates if unmet_rule(offer, wish) is None]
    if not fitting:
        return Refusal(tuple(rule for offer in candidates if (rule := unmet_rule(offer, wish))))
    best = min(fitting, key=lambda offer: _rank(offer, wish))
    return Choice(best.pool, best.vacant > 0, _explain(best, fitting, wish))


def ranked(wish: Wish, offers: Sequence[Offer]) -> list[Offer]:
    """All pools that fit `wish`, best first."""
    fitting = [o for o in offers if o.environment == wish.environment and unmet_rule(o, wish) is None]
    return sorted(fitting, key=lambda offer: _rank(offer, wish))


def _rank(offer: Offer, wish: Wish) -> tuple[bool, bool, int, int, float, int, int, str]:
    return (
        offer.vacant == 0,
        not (offer.vacant or offer.coming or offer.room),
        max(0, offer.gpus - wish.gpus),
        offer.cores,
        offer.memory_gb,
        -offer.vacant,
        -offer.coming,
        offer.pool,
    )


def _explain(best: Offer, fitting: Sequence[Offer], wish: Wish) -> str:
    size = f"{best.cores} cores" if best.cores != 1 else "1 core"
    gpus = f", {best.gpus} GPU{'s' if best.gpus > 1 else ''}" if best.gpus else ""
    smaller_waits = any((o.cores, o.memory_gb) < (best.cores, best.memory_gb) for o in fitting)
    why = "the only one that fits" if len(fitting) == 1 else "smallest that fits"
    if smaller_waits:
        why = "smallest that is free"
    now = f"{best.vacant} vacant" if best.vacant else f"none vacant yet, {best.coming or 'none'} being made ready"
    return f"in {best.place}, {size}{gpus}: {why}; {now}"
