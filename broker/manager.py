"""The manager process: one elected leader tends sessions and pools, again and again."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import structlog

from broker import jobs, metrics
from broker.courses import upkeep as courses
from broker.leader import Candidate
from broker.pools import standing
from broker.pools.manager import PoolManager
from broker.runtime import Runtime
from broker.sessions import seats
from broker.sessions.launches import LaunchLog
from broker.sessions.upkeep import SessionUpkeep

log = structlog.get_logger()
REAP_EVERY = 15  # ticks


def run(runtime: Runtime) -> None:
    """Tend until SIGTERM or SIGINT; several managers may run, one leads."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    candidate = Candidate(runtime.database, "manager")
    sessions, pools = SessionUpkeep(runtime), PoolManager(runtime, LaunchLog(runtime).fresh, seats.taken)
    tick = 0
    while not stop.wait(runtime.settings.times.tick):
        with metrics.swallowed("manager"):
            if not candidate.leads():
                continue
            before = runtime.settings
            runtime.reread()
            if runtime.settings is not before:
                standing.ask_again(runtime, before)
            courses.tend(runtime)
            pools.tend(sessions.tend())
            if tick % REAP_EVERY == 0:
                jobs.reap(runtime.redis)
            tick += 1
    candidate.resign()
    log.info("manager.stopped")
