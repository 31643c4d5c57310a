"""Asking clouds: whom a pass waits for, what becomes of threads, and how much is asked of a cloud in trouble."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest

from broker.clouds.adapter import CloudNode
from broker.errors import CloudBusy, CloudFault, CloudRefused, CloudUnreachable
from broker.pools import watch
from broker.pools.watch import Question, Seen, Watch
from broker.runtime import Runtime
from tests.waiting import until

PATIENCE = 1.0  # seconds
QUESTION = Question(frozenset(), room=False)


@dataclass
class FakeCloud:
    """Answers its list when it may; its console, where it has one, with this fault."""

    may_answer: threading.Event = field(default_factory=threading.Event)
    nodes: list[CloudNode] = field(default_factory=list)
    fault: CloudFault | None = None
    vouched: list[str] = field(default_factory=list)

    def list_ours(self, deployment: str) -> list[CloudNode]:
        self.may_answer.wait(60)
        return self.nodes

    def vouch(self, node: CloudNode) -> str | None:
        self.vouched.append(node.id)
        if self.fault is not None:
            raise self.fault
        return f"key of {node.id}"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    fake = FakeCloud()
    monkeypatch.setattr(watch, "open_cloud", lambda settings: fake)
    return fake


def answered(watching: Watch) -> Seen:
    [seen] = until(lambda: list(watching.answers(0.0)), "the answer", every=0.01)
    return seen


def running(*ids: str) -> list[CloudNode]:
    return [CloudNode(id_, id_, "running", "10.0.0.1", None, {}) for id_ in ids]


def test_a_cloud_that_was_slow_once_is_waited_for_again_when_it_is_quick(runtime: Runtime, cloud: FakeCloud) -> None:
    """What counts is how long it took, and not when somebody looked."""
    watching = Watch(runtime)
    watching.ask("ral", QUESTION)
    assert list(watching.answers(PATIENCE)) == [], "it is slow"
    cloud.may_answer.set()
    answered(watching)
    watching.ask("ral", QUESTION)
    until(lambda: watching._answers.qsize(), "a quick answer")
    watching._threads["ral"].began = time.monotonic() - 10  # and the next pass comes 10 s later
    answered(watching)
    cloud.may_answer.clear()
    watching.ask("ral", QUESTION)
    threading.Timer(PATIENCE / 10, cloud.may_answer.set).start()
    assert len(list(watching.answers(PATIENCE))) == 1


def test_a_list_that_was_given_up_leaves_no_thread_behind(
    runtime: Runtime, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LONGEST", 0.0)
    watching = Watch(runtime)
    watching.ask("ral", QUESTION)
    thread = watching._threads["ral"]
    assert answered(watching).fault is not None
    assert watching.is_free("ral")
    cloud.may_answer.set()
    thread.join(30)
    assert not thread.is_alive()
    assert list(watching.answers(0.0)) == [], "its late answer is nobody's"


@pytest.mark.parametrize(
    ("fault", "asked"), [(None, 3), (CloudRefused("no"), 3), (CloudBusy("slower"), 1), (CloudUnreachable("silent"), 1)]
)
def test_a_cloud_that_is_busy_or_silent_is_asked_for_no_more_host_keys_in_this_look(
    runtime: Runtime, cloud: FakeCloud, fault: CloudFault | None, asked: int
) -> None:
    cloud.may_answer.set()
    cloud.nodes, cloud.fault = running("a", "b", "c", "of-old"), fault
    watching = Watch(runtime)
    watching.ask("ral", Question(frozenset({"a", "b", "c"}), room=False))
    seen = answered(watching)
    assert len(cloud.vouched) == asked
    assert [node.id for node in seen.nodes or []] == ["a", "b", "c", "of-old"]
    keys = {node.host_key for node in seen.nodes or []}
    assert keys == ({None, "key of a", "key of b", "key of c"} if fault is None else {None})
