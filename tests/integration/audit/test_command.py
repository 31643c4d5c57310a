"""`beamdesk audit`, and under whose name commands stand in the log."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from broker import runtime as runtimes
from broker.cli import main
from broker.events import Event
from broker.runtime import Runtime
from tests.integration.audit.rows import seal_all, seals, tamper, write, write_many

BEAMDESK = str(Path(sys.executable).with_name("beamdesk"))
DOCS = Path(__file__).parents[3] / "docs"
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def deployment(each_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The one that commands find."""
    monkeypatch.setattr(runtimes, "current", lambda: each_runtime)
    monkeypatch.delenv("SUDO_USER", raising=False)
    return each_runtime


def beamdesk(*words: str) -> Result:
    """The command; what it prints, and its status."""
    return CliRunner().invoke(main, words)


def test_a_good_log_ends_with_its_head_and_status_0(deployment: Runtime) -> None:
    """The head that is printed is one that `--head` takes; the look itself stands in the log."""
    write(deployment.database, 3)
    seal_all(deployment.database)
    done = beamdesk("audit", "verify")
    seq, _, hash_ = seals(deployment.database)[-1]
    assert done.output == f"The audit log is good: 3 rows are sealed.\nhead {seq}:{hash_}\n"
    assert done.exit_code == 0
    again = beamdesk("audit", "verify", "--head", f"{seq}:{hash_}")
    assert (again.exit_code, again.output.splitlines()[0]) == (
        0,
        "The audit log is good: 3 rows are sealed; 1 newer ones wait for a seal.",
    )
    with deployment.database.reading() as db:
        look = db.scalars(select(Event).where(Event.action == "audit:verify")).first()
    assert look is not None
    assert (look.actor, look.client, look.via) == (ME, socket.gethostname()[:64], "command")
    assert look.detail == {"good": True, "seq": 3, "hash": hash_}


def test_an_empty_log_is_good(deployment: Runtime) -> None:
    """There is nothing to be wrong."""
    done = beamdesk("audit", "verify")
    assert (done.exit_code, done.output) == (0, f"The audit log is good: 0 rows are sealed.\nhead 0:{'0' * 64}\n")


def test_a_log_that_was_changed_ends_with_status_1_and_the_rows_name(deployment: Runtime) -> None:
    """And so it stands in the log."""
    write(deployment.database, 3)
    seal_all(deployment.database)
    tamper(deployment.database, "UPDATE events SET actor = 'eve' WHERE id = 2")
    done = beamdesk("audit", "verify")
    assert done.exit_code == 1
    assert done.output.startswith("changed    row 2, sealed as no. 2, ")
    assert "The audit log is NOT good: 3 rows are sealed." in done.output
    with deployment.database.reading() as db:
        detail = db.scalars(select(Event.detail).where(Event.action == "audit:verify")).one()
    assert detail["first"].startswith("changed: row 2")


def test_a_wrong_head_is_a_plain_sentence(deployment: Runtime) -> None:
    """No traceback."""
    done = beamdesk("audit", "verify", "--head", "nonsense")
    assert done.exit_code == 1
    assert "'nonsense' is no head of the audit log." in done.output


def test_a_copy_that_can_only_be_read_is_verified_all_the_same(runtime: Runtime, tmp_path: Path) -> None:
    """As an auditor has it; that the look is not written down is said."""
    write(runtime.database, 3)
    seal_all(runtime.database)
    runtime.database.close()
    url = f"sqlite:///file:{runtime.database.engine.url.database}?mode=ro&uri=true"
    environment = {**os.environ, "BEAMDESK_DATABASE__URL": url}
    done = subprocess.run([BEAMDESK, "audit", "verify"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "The audit log is good: 3 rows are sealed." in done.stdout
    assert "This look could not be written down: attempt to write a readonly database" in done.stderr


def test_an_export_is_json_lines_and_anybody_can_compute_its_chain(deployment: Runtime) -> None:
    """By the few lines that docs/security.md has, which are run here."""
    write(deployment.database, 5, words='naïve ☃ " \\ \n')
    seal_all(deployment.database)
    beamdesk("audit", "verify")
    seal_all(deployment.database)
    done = beamdesk("audit", "export")
    lines = [json.loads(line) for line in done.output.splitlines()]
    assert [line["id"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert (lines[-1]["action"], lines[-1]["seal"]) == ("audit:export", None)
    program = re.search(r"```python\n(.*?)```", (DOCS / "security.md").read_text(), re.DOTALL)
    assert program is not None
    check = [sys.executable, "-c", program[1]]
    good = subprocess.run(check, input=done.output, capture_output=True, text=True, check=False)
    seq, _, hash_ = seals(deployment.database)[-1]
    assert (good.returncode, good.stdout) == (0, f"good, head {seq}:{hash_}\n"), good.stderr
    bad = subprocess.run(check, input=done.output.replace('"p3"', '"p4"'), capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stderr.splitlines()[-1]) == (1, "seal 4 is wrong")


def test_an_export_is_of_what_was_asked_for(deployment: Runtime) -> None:
    """And what was asked for stands in the log."""
    write(deployment.database, 2)
    done = beamdesk("audit", "export", "--actor", "ada", "--action", "pool", "--subject", "p1", "--since", "2026-01-01")
    assert [json.loads(line)["subject"] for line in done.output.splitlines()] == ["p1"]
    with deployment.database.reading() as db:
        detail = db.scalars(select(Event.detail).where(Event.action == "audit:export")).one()
    assert detail["wanted"] == {
        "actor": "ada",
        "action": "pool",
        "subject": "p1",
        "since": "2026-01-01 00:00:00+00:00",
    }
    assert beamdesk("audit", "export", "--until", "2026-01-01").output == ""
    assert beamdesk("audit", "export", "--since", "soon").exit_code == 2


def test_a_long_log_is_looked_through_and_exported_in_little_memory(runtime: Runtime) -> None:
    """A process of its own, whose most memory is hardly more than that of one which looks through three rows."""
    most = []
    for rows in (3, 60_000):
        write_many(runtime.database, rows)
        seal_all(runtime.database)
        for words in (["verify"], ["export"]):
            program = (
                "import resource, sys; from broker.cli import main\n"
                "try: main()\n"
                "except SystemExit: pass\n"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
            )
            command = [sys.executable, "-c", program, "audit", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            most.append(int(done.stderr.splitlines()[-1]) / 1024)
    print("MB:", [round(each) for each in most])
    assert max(most[2:]) < min(most[:2]) + 25


def test_what_a_command_does_is_the_operating_systems_users(
    deployment: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the host; and who became root by sudo."""
    beamdesk("account", "add", "carol", "--full-name", "Carol", "--password", "carols-secret")
    monkeypatch.setenv("SUDO_USER", "dave")
    beamdesk("account", "add", "carol", "--full-name", "Carol", "--password", "carols-secret", "--admin")
    with deployment.database.reading() as db:
        rows = db.execute(select(Event.action, Event.actor, Event.subject, Event.client, Event.via, Event.detail)).all()
    sudo = "command by sudo of dave" if os.getuid() == 0 else "command"
    here = socket.gethostname()[:64]
    assert [tuple(row) for row in rows] == [
        ("account:save", ME, "carol", here, "command", {"role": "user", "groups": []}),
        ("account:save", ME, "carol", here, sudo, {"role": "admin", "groups": []}),
    ]
    write(deployment.database)
    with deployment.database.reading() as db:
        assert db.scalars(select(Event.client).order_by(Event.id.desc())).first() is None, "the command is over"
