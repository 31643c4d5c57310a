"""What else? Pure: the next best where a wish must wait, and why each pool cannot serve it now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from broker.pools.allocation import USUAL, Offer, Weights, Wish, ranked, unmet

MOST = 3


@dataclass(frozen=True)
class Alternative:
    """A pool that would serve sooner, and the wish that leads there. `wait_seconds` is 0 where a machine is vacant."""

    pool: str
    place: str
    size: str
    cores: int
    gpus: int
    wait_seconds: float
    wish: Wish

    def facts(self) -> dict[str, object]:
        """The same for programs; the wish as it can be asked for."""
        wish = {
            name: value for name, value in asdict(self.wish).items() if name not in ("environment", "groups", "pool")
        }
        return {**asdict(self), "wish": wish}


@dataclass(frozen=True)
class WhyNot:
    """Why one pool does not serve a wish now."""

    pool: str
    place: str
    size: str
    reason: str


def alternatives(
    wish: Wish,
    offers: Sequence[Offer],
    waits: Mapping[str, float | None],
    weights: Weights = USUAL,
) -> list[Alternative]:
    """At most three pools that would serve sooner if less, or another place, were wished; the soonest first.

    `waits` are seconds until somebody who joins a pool's queue now has a machine, None where nobody can know. What
    the user cannot give up is kept: the environment, the architecture, and being let in at all.
    """
    best = min((_wait(offer, waits) for offer in ranked(wish, offers, weights)), default=float("inf"))
    found: dict[tuple[str, int, float, int], tuple[tuple[float, int, float], Alternative]] = {}
    for offer in offers:
        lesser = relaxed(wish, offer)
        wait = _wait(offer, waits)
        if offer.environment != wish.environment or unmet(offer, lesser) is not None or wait >= best or lesser == wish:
            continue
        loss = (wait, _given_up(wish, lesser), -float(offer.cores))
        alternative = Alternative(offer.pool, offer.place, offer.size, offer.cores, offer.gpus, wait, lesser)
        key = (offer.location, offer.cores, offer.memory_gb, offer.gpus)
        if key not in found or loss < found[key][0]:
            found[key] = (loss, alternative)
    return [alternative for _, alternative in sorted(found.values(), key=lambda entry: entry[0])][:MOST]


def _wait(offer: Offer, waits: Mapping[str, float | None]) -> float:
    if offer.vacant:
        return 0.0
    known = waits.get(offer.pool)
    return float("inf") if known is None else max(1.0, known)


def relaxed(wish: Wish, offer: Offer) -> Wish:
    """The wish, lowered as far as `offer` needs it and no further."""
    return replace(
        wish,
        location=None if wish.location is None else offer.location,
        cores=min(wish.cores, offer.cores),
        memory_gb=min(wish.memory_gb, offer.memory_gb),
        gpus=min(wish.gpus, offer.gpus),
        gpu_model=wish.gpu_model if offer.gpu_model == wish.gpu_model else "",
    )


def _given_up(wish: Wish, lesser: Wish) -> int:
    fields = ("location", "cores", "memory_gb", "gpus", "gpu_model")
    return sum(getattr(wish, name) != getattr(lesser, name) for name in fields)


def why_not(wish: Wish, offers: Iterable[Offer]) -> list[WhyNot]:
    """For each pool of the environment that has no machine for `wish` now: why not."""
    candidates = [offer for offer in offers if offer.environment == wish.environment]
    reasons = [(offer, unmet(offer, wish) or _busy(offer)) for offer in candidates]
    return [WhyNot(offer.pool, offer.place, offer.size, reason) for offer, reason in reasons if reason is not None]


def _busy(offer: Offer) -> str | None:
    if offer.vacant:
        return None
    none = offer.kept or "has none vacant"
    if offer.coming:
        return f"{none}; {offer.coming} {'is' if offer.coming == 1 else 'are'} being made ready"
    if offer.room:
        return f"{none}; one is made on request"
    return offer.kept or f"is full: all {offer.limit} machines that it may have are in use"
