"""When idle sessions are warned and ended: pure decisions, and whole lives of sessions walked through them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.protocol import StatusAnswer
from broker.sessions.idleness import (
    STALE,
    WORK_GAP,
    Activity,
    End,
    IdleRule,
    Use,
    Warn,
    Withdraw,
    ends_at,
    heard,
    idle_due,
    length,
    use,
)

START = datetime(2027, 3, 1, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULE = IdleRule(after=120 * MINUTE, warning=15 * MINUTE)


def says(idle_minutes: float | None, *work: str) -> StatusAnswer:
    """What the machine answers."""
    idle = None if idle_minutes is None else idle_minutes * 60
    return StatusAnswer("7", "running", 0.0, 0.0, 1, idle, work[0] if work else "input", work)


def after(minutes: float, answer: StatusAnswer, before: Activity | None = None, batch_jobs: int = 0) -> Activity:
    known = heard(before or Activity(START), answer, START + minutes * MINUTE, batch_jobs=batch_jobs)
    assert known is not None
    return known


def test_idle_sessions_are_warned_first_and_end_as_much_later_as_was_said() -> None:
    """The reason says for how long nothing happened, and what the last was."""
    still = after(105, says(105))
    assert idle_due(still, RULE, START + 104 * MINUTE) is None
    warning = idle_due(still, RULE, START + 105 * MINUTE)
    assert warning == Warn(ends_at=START + 120 * MINUTE)
    warned = replace(still, sign="input", warned_at=START + 105 * MINUTE)
    assert idle_due(warned, RULE, START + 119 * MINUTE) is None
    end = idle_due(warned, RULE, START + 120 * MINUTE)
    assert end == End("idle for 2 h; its last activity was input at 09:00 UTC")


def test_a_late_warning_gives_its_whole_time() -> None:
    """As when the broker was away while the session was idle."""
    late = replace(after(300, says(300)), warned_at=START + 300 * MINUTE)
    assert ends_at(late, RULE, START + 300 * MINUTE) == START + 315 * MINUTE
    assert idle_due(late, RULE, START + 314 * MINUTE) is None
    assert isinstance(idle_due(late, RULE, START + 315 * MINUTE), End)


def test_without_a_rule_nothing_ends_and_a_warning_of_an_old_rule_is_withdrawn() -> None:
    """The setting may be taken away while a session is warned."""
    still = after(10_000, says(10_000))
    assert idle_due(still, None, START + 10_000 * MINUTE) is None
    assert idle_due(replace(still, warned_at=START), None, START + 10_000 * MINUTE) == Withdraw()


def test_work_without_a_viewer_is_use() -> None:
    """The most frequent complaint of such services: a calculation that was culled because nobody looked on."""
    busy = after(500, says(0, "3.8 cores busy"))
    assert (busy.last_active_at, busy.sign, busy.work) == (START + 500 * MINUTE, "3.8 cores busy", "3.8 cores busy")
    assert idle_due(busy, RULE, START + 500 * MINUTE) is None


def test_a_batch_job_of_the_user_is_use() -> None:
    """Wherever it runs."""
    waits = after(500, says(500), batch_jobs=2)
    assert (waits.work, waits.last_active_at) == ("2 batch jobs", START + 500 * MINUTE)
    assert idle_due(waits, RULE, START + 500 * MINUTE) is None


def test_what_a_machine_says_never_makes_the_last_use_older() -> None:
    """A click on "I am still here" holds although nobody touched the desktop."""
    clicked = Activity(START + 100 * MINUTE, sign="a click in the portal")
    known = after(110, says(110), clicked)
    assert (known.last_active_at, known.sign) == (clicked.last_active_at, "a click in the portal")


def test_kept_until_the_work_ends_and_then_an_ordinary_session_again() -> None:
    """Short pauses between two steps are part of the work; afterwards the whole idle time and the warning follow."""
    kept = Activity(START, kept_at=START)
    working = after(200, says(0, "1.0 cores busy"), kept)
    pause = after(209, says(9), working)
    assert (working.kept_at, pause.kept_at) == (START + 200 * MINUTE, START + 200 * MINUTE)
    assert idle_due(replace(pause, last_active_at=START), RULE, START + 209 * MINUTE) is None
    over = after(200 + WORK_GAP / MINUTE, says(WORK_GAP / MINUTE), pause)
    assert over.kept_at is None
    moment = over.last_active_at + RULE.after - RULE.warning
    assert idle_due(over, RULE, moment - MINUTE) is None
    assert isinstance(idle_due(over, RULE, moment), Warn)


def test_a_use_in_a_word() -> None:
    """Words of a machine that were said long ago say nothing."""
    moment = START + 500 * MINUTE
    assert use(after(500, says(0, "GPU 97 %")), moment) == Use.WORKING
    assert use(after(500, says(2)), moment) == Use.IN_USE
    assert use(after(500, says(40)), moment) == Use.IDLE
    assert use(after(500, says(40)), moment + STALE + MINUTE) == Use.UNKNOWN
    assert use(Activity(START), moment) == Use.UNKNOWN


def test_lengths_are_words() -> None:
    assert [length(timedelta(minutes=m)) for m in (0.2, 45, 60, 90, 600)] == [
        "0 min",
        "45 min",
        "1 h",
        "1 h 30 min",
        "10 h",
    ]


USES = ("input", "work", "stay", "keep")
LOOKS = st.tuples(
    st.floats(0.1, 40),  # minutes until the machine is asked again
    st.sampled_from(["still"] * 9 + ["silent", "let go", *USES]),
)


class Life:
    """A session as the broker walks it: something happens, the machine is asked, and what follows is done."""

    def __init__(self, rule: IdleRule) -> None:
        self.rule, self.known, self.moment, self.used_at = rule, Activity(START), START, START

    def meets(self, what: str) -> bool:
        """Whether it is over after this."""
        self.used_at = self.moment if what in USES else self.used_at
        wishes = {
            "stay": {"last_active_at": self.moment, "warned_at": None},
            "keep": {"last_active_at": self.moment, "warned_at": None, "kept_at": self.moment},
            "let go": {"kept_at": None},
        }
        self.known = replace(self.known, **wishes.get(what, {}))  # type: ignore[arg-type]
        idle = None if what == "silent" else (self.moment - self.used_at) / MINUTE
        known = heard(self.known, says(idle, *(["1.0 cores busy"] if what == "work" else [])), self.moment)
        if known is None:
            assert what == "silent", "only of a machine that knows nothing is nothing decided"
            return False
        self.known = known
        return self.follows(idle_due(known, self.rule, self.moment))

    def follows(self, due: Warn | Withdraw | End | None) -> bool:
        if isinstance(due, Warn):
            assert due.ends_at - self.moment >= self.rule.warning
            assert self.known.warned_at is None
            self.known = replace(self.known, warned_at=self.moment)
        if isinstance(due, Withdraw):
            self.known = replace(self.known, warned_at=None)
        return isinstance(due, End)


@given(st.lists(LOOKS, max_size=40), st.integers(2, 120), st.integers(1, 100))
@settings(max_examples=150)
def test_no_life_ends_without_a_warning_before_it_nor_while_it_is_used(
    looks: list[tuple[float, str]], minutes: int, share: int
) -> None:
    """Whatever happens in whatever order."""
    life = Life(IdleRule(minutes * MINUTE, minutes * MINUTE * share / 101))
    for pause, what in looks:
        life.moment += pause * MINUTE
        if life.meets(what):
            assert life.known.warned_at is not None
            assert life.moment - life.known.warned_at >= life.rule.warning, "it was warned that long before"
            assert life.used_at <= life.known.warned_at, "it was not used since it was warned"
            assert life.moment - life.used_at >= life.rule.after
            assert (life.known.kept_at, what in USES or what == "silent") == (None, False)
            return
        assert what not in USES or life.known.warned_at is None, "any use withdraws the warning"
