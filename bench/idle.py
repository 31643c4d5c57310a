"""What it costs to know who is idle: a look by a machine's agent, and what the broker makes of 500 answers a minute."""

from __future__ import annotations

import os
import tempfile
import time
from datetime import timedelta

from sqlalchemy import insert

from agents.machine import measure
from agents.protocol import StatusAnswer
from bench.claim import settings
from bench.rows import Row, write
from broker.database import Base, Database, now
from broker.identity.service import create_account
from broker.runtime import Runtime
from broker.sessions import idle
from broker.sessions.models import SessionState, UserSession

LOOKS, SESSIONS = 50, 500


def look() -> Row:
    """CPU of counting the load of all processes here, children included, which is most of a look."""
    began = sum(os.times()[:4])
    for _ in range(LOOKS):
        measure.usage(os.getuid())
    spent = sum(os.times()[:4]) - began
    processes = sum(name.isdigit() for name in os.listdir("/proc"))
    return Row("idle look", 1000 * spent / LOOKS, "ms CPU", note=f"{processes} processes")


def hear(folder: str) -> list[Row]:
    """Choose whom to ask among the ready sessions, and write down what each machine says; on SQLite."""
    runtime = Runtime(settings("", folder), Database(f"sqlite:///{folder}/bench.sqlite3"))
    Base.metadata.create_all(runtime.database.engine)
    user = create_account(runtime, "u", "U", "password").user_id
    with runtime.database.transaction() as db:
        row = {"user_id": user, "environment": "e0", "wish": {}, "state": SessionState.READY, "tries": 1, "reason": ""}
        ready = {"ready_at": now(), "expires_at": now() + timedelta(hours=48), "attempt": 0}
        db.execute(insert(UserSession), [{**row, **ready} for _ in range(SESSIONS)])
    rounds = idle.Rounds()
    began = time.perf_counter()
    due = rounds.due(runtime)
    chosen = time.perf_counter()
    for session in due:
        idle.hear(runtime, session, StatusAnswer(str(session), "running", 0, 0, 1, 600.0, "input", ()))
    heard = time.perf_counter()
    runtime.database.close()
    return [
        Row("idle whom to ask", 1000 * (chosen - began), "ms", note=f"{SESSIONS} ready sessions, once a tick"),
        Row("idle hear", 1000 * (heard - chosen) / len(due), "ms", note="of each session, once a minute"),
    ]


def main() -> None:
    """The machine's side, then the broker's."""
    with tempfile.TemporaryDirectory() as folder:
        write([look(), *hear(folder)])
