"""Keeps the record of the session's use: a look every few seconds, written down for the verb `status`.

The record lies in the seat's folder in /run, beside the monotonic clock that it is told in: both begin anew with the
machine, and both outlive the supervisor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from agents.machine import measure
from agents.machine.activity import Reading, Record, follow
from agents.machine.seat import Seat
from agents.machine.state import replace_file

EVERY = 10.0  # seconds between two looks
_STALE = 60.0  # seconds after which nobody keeps the record any more


def keep(seat: Seat) -> None:
    """Look for ever; a look that fails is told in the log, and the record grows old until one does not."""
    while True:
        try:
            look(seat)
        except Exception as error:
            print(f"the use cannot be measured: {error!r}", file=sys.stderr, flush=True)
        time.sleep(EVERY)


def look(seat: Seat) -> None:
    """Measure once and write it down."""
    record = follow(read(seat), measure.reading(seat))
    replace_file(_file(seat), json.dumps(asdict(record)).encode(), mode=0o600, uid=os.getuid(), gid=os.getgid())


def read(seat: Seat) -> Record | None:
    """The record, or None where there is none that can be used."""
    try:
        values = json.loads(_file(seat).read_text())
        return Record(values["active_at"], values["sign"], tuple(values["work"]), Reading(**values["reading"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def idle_seconds(seat: Seat, record: Record | None) -> float | None:
    """For how long nobody and nothing has used the session; None where that is not known, which is not idle."""
    age, now = measure.input_age(seat), time.monotonic()
    if record is None or age is None or now - record.reading.at > _STALE:
        return None
    return min(age, now - record.active_at)


def _file(seat: Seat) -> Path:
    return seat.folder / "activity.json"
