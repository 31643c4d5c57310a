"""The manager process: one elected leader tends sessions and pools, again and again."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import structlog

from broker import events, jobs, metrics
from broker.audit import sealing
from broker.courses import upkeep as courses
from broker.identity import refreshing
from broker.leader import Candidate
from broker.pools import standing
from broker.pools.manager import PoolManager
from broker.rotation import steps as rotation
from broker.runtime import Runtime
from broker.sessions import seats
from broker.sessions.launches import LaunchLog
from broker.sessions.upkeep import SessionUpkeep
from broker.settings import Settings
from broker.sharing import handover, recordings

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
    leading = threading.Event()
    sealer = threading.Thread(target=sealing.keep_on, args=(runtime.database, stop, leading.is_set), name="audit-seals")
    sealer.start()
    sessions, pools = SessionUpkeep(runtime), PoolManager(runtime, LaunchLog(runtime).fresh, seats.taken)
    tick = 0
    while not stop.wait(runtime.settings.times.tick):
        with metrics.swallowed("manager"):
            if not candidate.leads():
                leading.clear()
                continue
            leading.set()
            _reread(runtime)
            courses.tend(runtime)
            pools.tend(sessions.tend())
            handover.close_over(runtime)
            refreshing.enqueue_due(runtime)
            if tick % REAP_EVERY == 0:
                with metrics.redis_may_be_away():
                    jobs.reap(runtime.redis)
                recordings.forget_old(runtime.settings)
                rotation.advance(runtime)
            tick += 1
    sealer.join()
    candidate.resign()
    log.info("manager.stopped")


def _reread(runtime: Runtime) -> None:
    """Take what beamdesk.toml says now, and write down which parts of it are others; never what they say."""
    before = runtime.settings
    runtime.reread()
    if runtime.settings is before:
        return
    standing.ask_again(runtime, before)
    others = [key for key in Settings.model_fields if getattr(before, key) != getattr(runtime.settings, key)]
    with runtime.database.transaction() as db:
        events.record(db, "settings:read", "beamdesk.toml", changed=others)
