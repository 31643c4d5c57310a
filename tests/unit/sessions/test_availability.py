"""What a card says before anybody clicks, from a look at the pools."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.pools.allocation import Offer
from broker.sessions.availability import availability
from broker.sessions.rules import Line
from broker.sessions.waiting import Queues

POOL = Offer("p", "light", "ral", "Harwell", 2, 4, 0, vacant=0, coming=0, room=0, limit=4, serving=True)
BUSY = Line(coming=(), expiries=(), build_seconds=None, may_grow=False)


def look(offer: Offer, line: Line = BUSY, waiting: int = 0) -> Queues:
    """A deployment of one pool in which so many wait."""
    return Queues({"p": offer}, {"p": list(range(waiting))}, {"p": line})


@pytest.mark.parametrize(
    ("queues", "words"),
    [
        (look(replace(POOL, vacant=2)), "Ready now"),
        (look(replace(POOL, vacant=2), waiting=1), "Ready now"),
        (look(replace(POOL, vacant=1), waiting=1), "Queue: 1 before you"),
        (look(replace(POOL, coming=1), Line((40.0,), (), 90.0, False)), "About 40 s"),
        (look(replace(POOL, room=2), Line((), (), 120.0, True)), "About 2 min"),
        (look(replace(POOL, coming=1)), "Being made ready"),
        (look(replace(POOL, room=1)), "Made on request"),
        (look(POOL, Line((), (3600.0,), 120.0, False), waiting=0), "About 1 h"),
        (look(POOL, Line((), (60.0, 600.0), 60.0, False), waiting=1), "Queue: 1 before you, about 11 min"),
        (look(replace(POOL, vacant=3, serving=False)), "Not available now"),
        (look(replace(POOL, limit=0)), "Not available now"),
    ],
)
def test_the_card_says_what_a_click_would_find(queues: Queues, words: str) -> None:
    """From vacant machines that nobody waits for, the queue, and what is known to come."""
    found = availability(queues, "light")
    assert found.text == words
    assert found.ready is (words == "Ready now")
    assert found.possible is (words != "Not available now")


def test_the_card_speaks_of_the_pool_that_would_be_chosen() -> None:
    """A launch would wait for the smallest that fits, so its queue is the one that counts."""
    large = replace(POOL, pool="large", cores=8)
    queues = Queues({"p": POOL, "large": large}, {"p": [1, 2]}, {"p": BUSY, "large": BUSY})
    assert availability(queues, "light").ahead == 2
