"""What counts as use of a machine, and what does not: a decision over two readings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.machine.activity import BYTES_PER_SECOND, CORES, SOONEST, Reading, Record, follow, work

QUIET = Reading(at=1000.0, input_age=600.0, cpu_seconds=50.0, io_bytes=10**9, gpu_percent=None)


def after(seconds: float, *, cores: float = 0.0, rate: float = 0.0, gpu: float | None = None) -> Reading:
    """The reading so much later, with this load meanwhile and no input."""
    return Reading(1000.0 + seconds, 600.0 + seconds, 50.0 + cores * seconds, int(10**9 + rate * seconds), gpu)


def test_each_kind_of_load_is_work_and_is_named_with_its_size() -> None:
    """In words that a user reads."""
    assert work(QUIET, after(10, cores=3.8)) == ("3.8 cores busy",)
    assert work(QUIET, after(10, gpu=97)) == ("GPU 97 %",)
    assert work(QUIET, after(10, rate=12e6)) == ("transfer 12.0 MB/s",)
    assert work(QUIET, after(10, cores=1, rate=1e6, gpu=50)) == ("1.0 cores busy", "GPU 50 %", "transfer 1.0 MB/s")


def test_a_desktop_that_blinks_and_a_panel_that_reads_its_figures_are_no_work() -> None:
    """A clock, a cursor, a compositor."""
    assert work(QUIET, after(10, cores=0.06, rate=30_000, gpu=2)) == ()


def test_a_process_whose_end_takes_its_totals_away_is_no_work_and_no_error() -> None:
    """Its parent was another's, which got its figures."""
    assert work(QUIET, Reading(1010.0, 610.0, 3.0, 5, None)) == ()


def test_the_first_reading_counts_as_use_because_nothing_is_known_of_before() -> None:
    """A record that was lost makes nobody idle at once; nor does a clock that began anew."""
    assert follow(None, QUIET).active_at == QUIET.at
    assert follow(Record(5000.0, "input", (), after(4000)), QUIET).active_at == QUIET.at


def test_input_and_load_bring_the_record_forward_and_silence_does_not() -> None:
    """With the sign that showed it."""
    record = Record(900.0, "its start", (), QUIET)
    typed = follow(record, Reading(1010.0, 3.0, 50.0, 10**9, None))
    assert (typed.active_at, typed.sign) == (1007.0, "input")
    busy = follow(record, after(10, cores=2))
    assert (busy.active_at, busy.sign, busy.work) == (1010.0, "2.0 cores busy", ("2.0 cores busy",))
    silent = follow(busy, after(20, cores=1))
    assert (silent.active_at, silent.work) == (1010.0, ())


def test_a_display_that_cannot_be_asked_takes_no_use_away() -> None:
    """Load still counts then."""
    record = Record(900.0, "input", (), QUIET)
    assert follow(record, Reading(1010.0, None, 50.0, 10**9, None)).active_at == 900.0
    assert follow(record, Reading(1010.0, None, 90.0, 10**9, None)).active_at == 1010.0


def test_a_short_burst_between_two_quick_looks_is_not_taken_for_load() -> None:
    """Over so short a time, the drawing of one window is a whole core."""
    record = Record(900.0, "input", (), QUIET)
    assert follow(record, after(SOONEST / 10, cores=1)) == record
    assert follow(record, after(SOONEST, cores=CORES / 2)).work == ()


@given(
    st.lists(
        st.tuples(
            st.floats(0, 120),
            st.none() | st.floats(0, 1e5),
            st.floats(0, 10_000),
            st.integers(0, 10**12),
        ),
        max_size=12,
    )
)
def test_the_last_use_never_moves_back_and_never_lies_ahead(
    steps: list[tuple[float, float | None, float, int]],
) -> None:
    """Whatever is read."""
    at, record = 0.0, None
    for pause, age, cpu, moved in steps:
        at += pause
        before = record.active_at if record else 0.0
        record = follow(record, Reading(at, age, cpu, moved, None))
        assert before <= record.active_at <= at


def test_the_limits_are_above_a_still_desktop_and_below_the_smallest_job() -> None:
    """A tenth of a core is a desktop; half of one, or a slow upload of 300 kB/s, is a job."""
    assert 0.1 < CORES < 0.5
    assert BYTES_PER_SECOND < 300_000
