"""New rows are sealed soon, each once, whoever is at it, whoever dies, and whatever the clocks say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select, text

from broker import events
from broker.audit import sealing
from broker.audit.chain import Head
from broker.audit.sealing import head
from broker.audit.verify import verify
from broker.database import Database, now
from broker.events import Event, Unsealed
from broker.leader import Leader
from broker.runtime import Runtime
from tests.integration.audit.rows import seal_all, seals, write, write_many
from tests.waiting import until

BACKLOG = 20 * sealing.BATCH
BEAMDESK = str(Path(sys.executable).with_name("beamdesk"))
SEALER = """
import sys
from broker.audit import sealing
from broker.database import Database
database = Database(sys.argv[1])
print("at it", flush=True)
while sealing.seal(database): pass
"""


def sealer(database: Database) -> subprocess.Popen[str]:
    """Another process that seals all that waits."""
    url = database.engine.url.render_as_string(hide_password=False)
    process = subprocess.Popen([sys.executable, "-c", SEALER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at it\n"
    return process


@contextmanager
def keeping_on(database: Database, leads: Callable[[], bool]) -> Iterator[None]:
    """What a manager does beside its other work."""
    stop = threading.Event()
    thread = threading.Thread(target=sealing.keep_on, args=(database, stop, leads))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def is_whole(database: Database, rows: int) -> None:
    """Each row has one seal, the numbers have no gap, and the chain is right."""
    chain = seals(database)
    assert [seq for seq, *_ in chain] == list(range(1, rows + 1))
    assert len({event_id for _, event_id, _ in chain}) == rows
    report = verify(database)
    assert report.good, report.findings
    assert (report.head, report.waiting) == (Head(chain[-1][0], chain[-1][2]), 0)
    with database.reading() as db:
        assert db.scalar(select(func.count()).select_from(Event)) == rows
        assert db.scalar(select(func.count()).select_from(Unsealed)) == 0


def test_rows_are_sealed_in_batches_to_the_last(each_runtime: Runtime) -> None:
    """An empty log, one row, more than a batch."""
    database = each_runtime.database
    assert sealing.seal(database) == 0
    write(database)
    assert sealing.seal(database) == 1
    write(database, sealing.BATCH + 7)
    assert [sealing.seal(database) for _ in range(3)] == [sealing.BATCH, 7, 0]
    is_whole(database, sealing.BATCH + 8)


def test_several_at_once_seal_nothing_twice_and_leave_nothing_out(each_runtime: Runtime) -> None:
    """Three processes, as when two managers believe that they lead; rows are written meanwhile."""
    database = each_runtime.database
    write_many(database, 6000)
    at_it = [sealer(database) for _ in range(3)]
    for _ in range(20):
        write(database, 5)
    assert [process.wait(60) for process in at_it] == [0, 0, 0]
    seal_all(database)
    is_whole(database, 6100)


def test_one_that_is_killed_in_the_middle_leaves_a_chain_that_goes_on(each_runtime: Runtime) -> None:
    """kill -9, again and again, at different moments."""
    database = each_runtime.database
    write_many(database, 12_000)

    def sealed() -> int:
        with database.reading() as db:
            return head(db).seq

    for killed in range(1, 5):
        before = sealed()
        process = sealer(database)
        until(lambda: sealed() > before, "it to seal", every=0.002)  # noqa: B023 - asked within this turn
        process.kill()
        assert process.wait(10) == -signal.SIGKILL, f"it had finished before its death {killed}"
    assert sealed() < 12_000
    seal_all(database)
    is_whole(database, 12_000)


def test_the_order_is_that_of_the_sealing_not_of_ids(each_runtime: Runtime) -> None:
    """A transaction that is long under way becomes visible with ids that are lower than sealed ones."""
    database = each_runtime.database
    if database.is_sqlite:  # whose writers come one after the other: their ids are in order
        write(database, 3)
        seal_all(database)
        assert [event_id for _, event_id, _ in seals(database)] == [1, 2, 3]
        return
    with database.engine.connect() as slow, slow.begin():
        columns = "(at, actor, action, kind, subject, detail)"
        slow.execute(text(f"INSERT INTO events {columns} VALUES (now(), 'a', 'a:b', 'a', 's', '{{}}')"))
        write(database, 2)
        seal_all(database)
    seal_all(database)
    assert [event_id for _, event_id, _ in seals(database)] == [2, 3, 1]
    is_whole(database, 3)


def test_clocks_that_differ_change_nothing_but_a_remark(each_runtime: Runtime) -> None:
    """A host that is an hour behind, and one that is a day ahead: the chain is good, and the oddity is named."""
    database = each_runtime.database
    for behind in (timedelta(0), timedelta(hours=1), -timedelta(days=1), timedelta(0)):
        with database.transaction() as db:
            row = Event(at=now() - behind, actor="ada", action="a:b", kind="a", subject="s")
            db.add(row)
        seal_all(database)
    is_whole(database, 4)
    notes = verify(database).notes
    assert [note.split(" is dated ")[0] for note in notes] == ["row 2", "row 4"]
    assert "dated 1:00:00 before" in notes[0]


def test_a_backlog_is_sealed_in_batches_while_others_write(each_runtime: Runtime) -> None:
    """As after the version before this one, or a day without a manager; nobody waits long for the database."""
    database = each_runtime.database
    write_many(database, BACKLOG)
    began, longest, written = time.monotonic(), 0.0, 0

    def waits() -> int:
        with database.reading() as db:
            return db.scalar(select(func.count()).select_from(Unsealed)) or 0

    with keeping_on(database, lambda: True):
        while waits():
            before = time.monotonic()
            write(database)
            longest, written = max(longest, time.monotonic() - before), written + 1
            assert time.monotonic() - began < 200
            time.sleep(0.05)
    took = time.monotonic() - began
    print(f"{BACKLOG} rows sealed in {took:.1f} s; the slowest of {written} writers: {longest:.3f} s")
    seal_all(database)
    assert longest < 10
    began = time.monotonic()
    is_whole(database, BACKLOG + written)
    print(f"looked through in {time.monotonic() - began:.1f} s")


def test_who_does_not_lead_seals_nothing(runtime: Runtime) -> None:
    """And begins when it does."""
    write(runtime.database)
    asked, leads = [], threading.Event()

    def is_leader() -> bool:
        asked.append(leads.is_set())
        return asked[-1]

    with keeping_on(runtime.database, is_leader):
        until(lambda: len(asked) >= 2, "two turns")
        assert seals(runtime.database) == []
        leads.set()
        until(lambda: seals(runtime.database), "the seal")


def test_a_manager_seals_within_a_moment_and_another_goes_on_when_it_is_killed(runtime: Runtime) -> None:
    """Two real managers; the one that leads is killed."""
    environment = {**os.environ, "BEAMDESK_TIMES__TICK": "0.2"}
    managers = [subprocess.Popen([BEAMDESK, "manager"], env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    database = runtime.database

    def leader() -> int:
        with database.reading() as db:
            found = db.get(Leader, "manager")
            return int(found.holder.split(":")[1]) if found is not None and found.until > now() else 0

    def sealed_in(seconds: float) -> None:
        with database.transaction() as db:
            events.record(db, "pool:resize", "mine")
        until(lambda: not _waiting(database, "mine"), "the seal", seconds)

    try:
        until(leader, "a leader", 60)
        sealed_in(20)
        began = time.monotonic()
        sealed_in(20)
        assert time.monotonic() - began < 5, "a seal is a matter of a second"
        first = leader()
        os.kill(first, signal.SIGKILL)
        until(lambda: leader() not in (0, first), "another leader", 60)
        sealed_in(20)
    finally:
        for manager in managers:
            manager.terminate()
        ended = [manager.wait(30) for manager in managers]
    assert sorted(ended) == [-signal.SIGKILL, 0]
    assert verify(database).good


def _waiting(database: Database, subject: str) -> bool:
    with database.reading() as db:
        rows = select(Unsealed.event_id).join(Event, Event.id == Unsealed.event_id).where(Event.subject == subject)
        return db.scalar(rows.limit(1)) is not None
