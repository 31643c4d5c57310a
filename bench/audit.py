"""What the audit log's chain costs: launches with it and without, on both databases; a look through 100,000 rows."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import insert

from bench import claim
from bench.rows import Row, percentile, write
from broker import pauses
from broker.audit import log, sealing
from broker.audit.verify import verify
from broker.database import Base, Database, now
from broker.events import Event
from broker.identity.service import Person
from broker.pools.allocation import Wish
from broker.runtime import Runtime
from broker.sessions import service
from tests.servers import private_postgresql

ROWS, TARGET_S, ROUNDS, ALONE = 100_000, 10, 3, 400
MANAGER = """
import sys, threading
from broker.audit import sealing
from broker.database import Database
sealing.keep_on(Database(sys.argv[1]), threading.Event(), lambda: True)
"""


@contextmanager
def sealed(database: Database) -> Iterator[None]:
    """With the chain: rows are queued, and another process seals them, as the manager does."""
    url = database.engine.url.render_as_string(hide_password=False)
    with subprocess.Popen([sys.executable, "-c", MANAGER, url]) as manager:
        time.sleep(2)  # until it is at work
        try:
            yield
        finally:
            manager.kill()


@contextmanager
def bare(database: Database) -> Iterator[None]:
    """Without: no queue, no protection, no sealing."""
    with database.engine.begin() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("DROP TRIGGER events_queue")
            connection.exec_driver_sql("DROP TRIGGER events_no_replace")
        else:
            connection.exec_driver_sql("ALTER TABLE events DISABLE TRIGGER ALL")
    time.sleep(2)
    yield


def launches(runtime: Runtime) -> list[float]:
    """Seconds of each launch: at 100 a second on PostgreSQL, one after the other on SQLite."""
    if runtime.database.is_sqlite:
        people = claim.users(runtime, ALONE)
        took = []
        for number, person in enumerate(people):
            began = time.perf_counter()
            _launch(runtime, person, number)
            took.append(time.perf_counter() - began)
        return took
    people = claim.users(runtime, claim.THREADS + claim.STEADY)
    return claim.at_the_rate(lambda n: _launch(runtime, people[n], n), 0)


def _launch(runtime: Runtime, person: Person, number: int) -> None:
    service.request(runtime, person, Wish(f"e{number % 50}"))


def with_and_without(url: str, kind: str, folder: str) -> list[Row]:
    """Both in turn, several times, each on a database that is made anew."""
    pauses.shorten()
    took: dict[str, list[float]] = {"sealed": [], "bare": []}
    for _ in range(ROUNDS):
        for way in (bare, sealed):
            runtime = claim.filled(url, folder, 50)
            with way(runtime.database):
                took[way.__name__] += launches(runtime)
            runtime.database.close()
    rows = []
    for share in (0.5, 0.99):
        with_, without = (1000 * percentile(took[way], share) for way in ("sealed", "bare"))
        name = f"audit launch {kind} p{share * 100:.0f}"
        note = f"{len(took['sealed'])} launches each"
        rows.append(Row(name, with_, "ms", "without the chain", without, with_ / without, note=note))
    return rows


def long_log(url: str, kind: str) -> list[Row]:
    """Sealing a backlog, looking through it, exporting it."""
    database = Database(url)
    Base.metadata.drop_all(database.engine)
    Base.metadata.create_all(database.engine)
    detail = {"reason": "the desktop is painted", "before": "preparing"}
    row = {"at": now(), "actor": "system", "action": "session:ready", "kind": "session", "subject": "1"}
    with database.transaction() as db:
        for _ in range(ROWS // 5000):
            db.execute(insert(Event), [{**row, "detail": detail}] * 5000)
    began = time.perf_counter()
    while sealing.seal(database):
        pass
    sealed_in = time.perf_counter() - began
    began = time.perf_counter()
    assert verify(database).good
    verified_in = time.perf_counter() - began
    began = time.perf_counter()
    assert sum(1 for _ in log.lines(database, log.Wanted())) == ROWS
    exported_in = time.perf_counter() - began
    database.close()
    return [
        Row(f"audit seal {kind}", sealed_in, "s", note=f"a backlog of {ROWS} rows, without pauses"),
        Row(
            f"audit verify {kind}", verified_in, "s", target=TARGET_S, met=verified_in <= TARGET_S, note=f"{ROWS} rows"
        ),
        Row(f"audit export {kind}", exported_in, "s", note=f"{ROWS} rows"),
    ]


def main() -> None:
    """SQLite, then PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder)}/bench.sqlite3"
        write([*with_and_without(url, "sqlite", folder), *long_log(url, "sqlite")])
        with private_postgresql(fsync=True) as url:
            write([*with_and_without(url, "postgresql", folder), *long_log(url, "postgresql")])
