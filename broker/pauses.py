"""Keeps the pauses of Python's garbage collector out of people's way."""

from __future__ import annotations

import gc

OFTEN = (20_000, 20, 20)  # objects; collections of the young; collections of the middle-aged: before each kind


def shorten() -> None:
    """To be called once a process has loaded what it needs: that is not looked through again, and the rest less often.

    A full collection looks through every object of all libraries, and everybody waits: of 100 launches a second the
    slowest of a hundred took 90 to 140 ms, and takes 10 to 13 ms with this (`make bench NAME=claim`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*OFTEN)
