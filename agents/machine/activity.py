"""Is this machine in use? A pure decision over two readings: input, or load of the user's own processes.

Who merely looks (an open browser tab, a VNC connection) is no reason; a calculation without a viewer is one.
"""

from __future__ import annotations

from dataclasses import dataclass

CORES = 0.2  # measured: the still desktops of Xfce and IceWM use less than 0.01; a calculation uses one and more
BYTES_PER_SECOND = 250_000.0  # read and written; IceWM with a terminal and its clock: 9 kB/s
GPU_PERCENT = 5.0  # a compositor that repaints a clock stays below
SOONEST = 5.0  # seconds between two readings that are compared: over less, one burst looks like load


@dataclass(frozen=True)
class Reading:
    """What was measured at `at`, in monotonic seconds.

    `input_age` is in seconds since the last key, click or move; None where the display could not be asked. CPU and
    bytes are totals of the user's processes, and fall where one has gone whose parent was another's.
    """

    at: float
    input_age: float | None
    cpu_seconds: float
    io_bytes: int
    gpu_percent: float | None


@dataclass(frozen=True)
class Record:
    """What is known of the use so far: when it was last seen, by what sign, and the work that runs now."""

    active_at: float
    sign: str
    work: tuple[str, ...]
    reading: Reading


def work(before: Reading, now: Reading) -> tuple[str, ...]:
    """The load between two readings that counts as work, in words: "3.8 cores busy", "GPU 97 %", "transfer 12 MB/s"."""
    seconds = max(now.at - before.at, 0.001)
    cores = (now.cpu_seconds - before.cpu_seconds) / seconds
    rate = (now.io_bytes - before.io_bytes) / seconds
    found = []
    if cores >= CORES:
        found.append(f"{cores:.1f} cores busy")
    if now.gpu_percent is not None and now.gpu_percent >= GPU_PERCENT:
        found.append(f"GPU {now.gpu_percent:.0f} %")
    if rate >= BYTES_PER_SECOND:
        found.append(f"transfer {rate / 1e6:.1f} MB/s")
    return tuple(found)


def follow(record: Record | None, now: Reading) -> Record:
    """The record after one more reading; a first one counts as activity, because nothing is known of before."""
    if record is None or now.at < record.reading.at:
        return Record(now.at, "its start", (), now)
    if now.at - record.reading.at < SOONEST:
        return record
    running = work(record.reading, now)
    if running:
        return Record(now.at, running[0], running, now)
    typed_at = now.at - now.input_age if now.input_age is not None else record.active_at
    if typed_at > record.active_at:
        return Record(typed_at, "input", (), now)
    return Record(record.active_at, record.sign, (), now)
