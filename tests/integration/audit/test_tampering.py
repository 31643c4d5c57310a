"""What a superuser does to the log with the triggers out of the way is found; what cannot be found is known."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from broker.audit.chain import COLUMNS, Head, facts, head_of, link
from broker.audit.verify import TOLD, verify
from broker.database import Database, now
from broker.errors import InvalidRequest
from broker.events import Event, Seal
from broker.runtime import Runtime
from tests.integration.audit.rows import found, seal_all, seals, tamper, without_queue, write

ROWS = 20
INSERT = "INSERT INTO events (id, at, actor, action, kind, subject, detail) VALUES "


@pytest.fixture
def database(each_runtime: Runtime) -> Database:
    """A log of twenty sealed rows that is good."""
    write(each_runtime.database, ROWS)
    seal_all(each_runtime.database)
    assert found(each_runtime.database) == []
    return each_runtime.database


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'eve'",
        "subject = 'other'",
        "action = 'pool:drain'",
        "kind = 'cloud'",
        "client = '10.0.0.9'",
        "via = 'token 7'",
        """detail = '{"reason": "tést", "share": 0.2}'""",
        "at = '2026-01-01 00:00:00.000001+00'",
    ],
)
def test_a_row_that_was_changed_is_named(database: Database, change: str) -> None:
    """In each of its columns."""
    if database.is_sqlite:
        change = change.replace("+00", "")
    tamper(database, f"UPDATE events SET {change} WHERE id = 7")
    report = verify(database)
    assert [finding.what for finding in report.findings] == ["changed"]
    assert report.first.startswith("changed: row 7, sealed as no. 7, ")


def test_a_row_that_was_deleted_is_named(database: Database) -> None:
    """Whether its seal is left or not."""
    tamper(database, "DELETE FROM events WHERE id = 7")
    assert verify(database).first == "missing: row 7, sealed as no. 7, is gone."
    tamper(database, "DELETE FROM event_seals WHERE event_id = 7")
    assert found(database) == ["missing", "changed"]
    assert verify(database).first == "missing: between the seals no. 6 and no. 8 something is gone."


def test_a_row_that_was_deleted_and_closed_over_is_found(database: Database) -> None:
    """The numbers after it are moved up; their hashes do not fit."""
    tamper(
        database,
        "DELETE FROM events WHERE id = 7",
        "DELETE FROM event_seals WHERE seq = 7",
        *(f"UPDATE event_seals SET seq = {n - 1} WHERE seq = {n}" for n in range(8, ROWS + 1)),
    )
    assert verify(database).first.startswith("changed: row 8, sealed as no. 7, ")


def test_a_row_that_was_put_in_is_named(database: Database) -> None:
    """With no seal and past the queue; with a seal of its own making; before all others."""
    without_queue(database, f"{INSERT} (99, '{now().isoformat(sep=' ')}', 'eve', 'a:b', 'a', 's', '{{}}')")
    assert verify(database).first.startswith("inserted: row 99 ")
    tamper(database, f"INSERT INTO event_seals (seq, event_id, hash) VALUES (21, 99, '{'0' * 64}')")
    assert verify(database).first.startswith("changed: row 99, sealed as no. 21, ")
    tamper(database, "DELETE FROM event_seals WHERE seq = 21", f"INSERT INTO event_seals VALUES (0, 99, '{'0' * 64}')")
    assert "missing" in found(database)


def test_rows_that_were_swapped_are_both_named(database: Database) -> None:
    """By their ids, or by their seals."""
    tamper(
        database,
        "UPDATE events SET id = 900 WHERE id = 5",
        "UPDATE events SET id = 5 WHERE id = 9",
        "UPDATE events SET id = 9 WHERE id = 900",
    )
    report = verify(database)
    assert [finding.said.split(",")[0] for finding in report.findings] == ["row 5", "row 9"]


def test_seals_that_were_swapped_are_found(database: Database) -> None:
    """The rows are in order, the chain is not."""
    tamper(
        database,
        "UPDATE event_seals SET event_id = 900 WHERE seq = 5",
        "UPDATE event_seals SET event_id = 5 WHERE seq = 9",
        "UPDATE event_seals SET event_id = 9 WHERE seq = 5",
    )
    assert found(database) == ["changed", "changed"]


def test_an_end_that_was_cut_off_is_found_only_by_a_head_that_was_kept(database: Database) -> None:
    """The chain that is left is right in itself: that is why a head is to be kept elsewhere."""
    kept = verify(database).head
    tamper(database, "DELETE FROM events WHERE id > 15", "DELETE FROM event_seals WHERE seq > 15")
    assert found(database) == []
    report = verify(database, known=kept)
    assert report.first == "missing: the chain ends at no. 15; you know of no. 20: it was cut off."
    write(database, 30)
    seal_all(database)
    assert "rewritten" in found(database, known=kept)


def test_seals_that_were_cut_off_leave_rows_that_wait_for_none(database: Database) -> None:
    """Without a head kept, too."""
    tamper(database, "DELETE FROM event_seals WHERE seq > 15")
    assert found(database) == ["inserted"] * 5


def test_a_chain_that_was_made_anew_is_found_only_by_a_head_that_was_kept(database: Database) -> None:
    """Whoever knows how the chain is made and owns the database can make another one that is right in itself."""
    kept = verify(database).head
    tamper(database, "UPDATE events SET actor = 'eve' WHERE id = 7")
    before, anew = Head().hash, []
    with database.reading() as db:
        for row in db.execute(select(*COLUMNS).order_by(Event.id)):
            before = link(before, facts(row))
            anew.append(f"UPDATE event_seals SET hash = '{before}' WHERE event_id = {row[0]}")
    tamper(database, *anew)
    assert found(database) == []
    assert found(database, known=kept) == ["rewritten"]
    assert found(database, known=Head(6, seals(database)[5][2])) == [], "what stood before it is as it was"


def test_a_head_that_is_in_the_chain_stays_good_while_the_chain_grows(database: Database) -> None:
    """And the first seal is a head, too."""
    heads = [Head(seq, hash_) for seq, _, hash_ in (seals(database)[0], seals(database)[-1])]
    write(database, 5)
    seal_all(database)
    assert [found(database, known=head) for head in heads] == [[], []]


def test_rows_that_wait_for_too_long_are_named(database: Database) -> None:
    """By the database's clock: a minute after they were written, and not before, whatever the row's own moment is."""
    with database.transaction() as db:
        db.add(Event(at=now() - timedelta(hours=3), actor="ada", action="a:b", kind="a", subject="s"))
    report = verify(database)
    assert (report.good, report.waiting) == (True, 1)
    past = (now() - timedelta(seconds=61)).strftime("%Y-%m-%d %H:%M:%S.%f")
    with database.transaction() as db:
        db.execute(text(f"UPDATE unsealed_events SET since = '{past}{'' if database.is_sqlite else '+00'}'"))
    report = verify(database)
    assert (report.waiting, report.first.split(" has")[0]) == (0, "unsealed: row 21")
    seal_all(database)
    assert found(database) == []


def test_a_row_that_goes_before_it_was_sealed_is_named(database: Database) -> None:
    """The queue remembers it."""
    write(database)
    tamper(database, f"DELETE FROM events WHERE id = {ROWS + 1}")
    assert verify(database).first == f"missing: row {ROWS + 1} was written, and is gone before it was sealed."


def test_a_queue_that_was_tampered_with_stops_no_sealing(database: Database) -> None:
    """A row that is sealed already is put into it: it is not sealed again, and new rows are."""
    with database.transaction() as db:
        db.execute(text("INSERT INTO unsealed_events SELECT 3, at FROM events WHERE id = 3"))
    write(database)
    seal_all(database)
    with database.reading() as db:
        assert [db.scalar(select(Seal.seq).where(Seal.event_id == id_)) for id_ in (3, ROWS + 1)] == [3, ROWS + 1]
    assert found(database) == []


def test_much_that_is_wrong_is_counted_and_the_first_is_told(database: Database) -> None:
    """A report that fits on a screen."""
    write(database, 100)
    seal_all(database)
    tamper(database, "UPDATE events SET actor = 'eve' WHERE id > 10")
    report = verify(database)
    assert (report.found, len(report.findings)) == (110, TOLD)
    assert report.first.startswith("changed: row 11,")


@pytest.mark.parametrize(
    "text_", ["", "7", "0:" + "a" * 64, "7:" + "a" * 63, "7:" + "g" * 64, f"7:{'a' * 64}:", "x" * 300]
)
def test_what_is_no_head_is_refused(text_: str) -> None:
    """With what one looks like."""
    with pytest.raises(InvalidRequest) as error:
        head_of(text_)
    assert "64 hexadecimal digits" in error.value.hint


def test_the_hash_is_what_the_documentation_says() -> None:
    """Made here by hand, so that another program can check an export."""
    row = {"id": 7, "actor": "ädа", "detail": {"b": 1, "a": [0.5, None]}}
    words = '{"actor":"\\u00e4d\\u0430","detail":{"a":[0.5,null],"b":1},"id":7}'
    assert json.loads(words) == row
    assert link("0" * 64, row) == hashlib.sha256(f"{'0' * 64}\n{words}".encode()).hexdigest()
