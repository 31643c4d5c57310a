"""Asks the clouds what they have, each in a thread of its own: one that is slow or silent holds nobody up."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import structlog

from broker.clouds.adapter import Cloud, CloudNode, Room, open_cloud
from broker.errors import BrokerError, CloudBusy, CloudFault, CloudUnreachable
from broker.pools import reconcile, tunnels
from broker.runtime import Runtime

log = structlog.get_logger()

LONGEST = 300.0  # seconds: a list that takes longer (an answer that comes byte by byte) is given up


@dataclass(frozen=True)
class Question:
    """What to find out: our nodes, the host keys of `arriving` ones that run, and the room, where that is due."""

    arriving: frozenset[str]
    room: bool


@dataclass(frozen=True)
class Seen:
    """What a cloud answered, and how long it took: its nodes of ours, or the fault; its room where it was asked for
    and known."""

    cloud: str
    nodes: list[CloudNode] | None = None
    room: Room | None = None
    fault: CloudFault | None = None
    seconds: float = 0.0


class Watch:
    """All clouds' threads. Each cloud is asked once at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._threads: dict[str, _Watcher] = {}
        self._answers: queue.SimpleQueue[tuple[_Watcher, Seen]] = queue.SimpleQueue()

    def is_free(self, name: str) -> bool:
        """Whether the cloud has answered what it was asked before."""
        return name not in self._threads or self._threads[name].began is None

    def ask(self, name: str, question: Question) -> None:
        """Ask the cloud; its answer is among `answers()` some time later."""
        if name not in self._threads:
            self._threads[name] = _Watcher(self._runtime, name, self._answers)
        self._threads[name].ask(question)

    def answers(self, patience: float) -> Iterator[Seen]:
        """What came since. Waits, `patience` seconds in all, for clouds that answered quicker than that last time."""
        deadline = time.monotonic() + patience
        while any(watcher.began is not None and watcher.took < patience for watcher in self._threads.values()):
            try:
                watcher, seen = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            yield from self._of(watcher, seen)
        while not self._answers.empty():
            yield from self._of(*self._answers.get())
        yield from self._given_up()

    def _of(self, watcher: _Watcher, seen: Seen) -> Iterator[Seen]:
        """The answer, unless it was given up long ago."""
        if self._threads.get(seen.cloud) is watcher:
            watcher.took, watcher.began = seen.seconds, None
            yield seen

    def _given_up(self) -> Iterator[Seen]:
        for name, watcher in list(self._threads.items()):
            if watcher.began is not None and time.monotonic() - watcher.began > LONGEST:
                self._threads.pop(name).end()
                yield Seen(name, fault=CloudFault(f"{name} did not finish its list of machines in {LONGEST:.0f} s."))


class _Watcher(threading.Thread):
    """One cloud's thread; `began` is when it was asked what it has not answered yet, `took` the last answer's time."""

    def __init__(self, runtime: Runtime, name: str, answers: queue.SimpleQueue[tuple[_Watcher, Seen]]) -> None:
        super().__init__(name=f"cloud-{name}", daemon=True)
        self._runtime, self._cloud, self._answers = runtime, name, answers
        self._questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self.began: float | None = None
        self.took = 0.0
        self.start()

    def ask(self, question: Question) -> None:
        self.began = time.monotonic()
        self._questions.put(question)

    def end(self) -> None:
        """Ask nothing more: the thread ends when it has its last answer, or with us."""
        self._questions.put(None)

    def run(self) -> None:
        while (question := self._questions.get()) is not None:
            began = time.monotonic()
            seen = self._look(question)
            self._answers.put((self, replace(seen, seconds=time.monotonic() - began)))

    def _look(self, question: Question) -> Seen:
        settings = self._runtime.settings
        try:
            cloud = open_cloud(settings.clouds[self._cloud])
            nodes = cloud.list_ours(settings.deployment)
            keys = _host_keys(cloud, nodes, question.arriving)
            nodes = [replace(node, host_key=keys[node.id]) if node.id in keys else node for node in nodes]
            nodes = [self._reached(node) if node.id in question.arriving else node for node in nodes]
            return Seen(self._cloud, nodes, _room(cloud) if question.room else None)
        except CloudFault as error:
            return Seen(self._cloud, fault=error)
        except BrokerError as error:
            return Seen(self._cloud, fault=CloudFault(error.message, hint=error.hint))
        except Exception as error:
            log.exception("cloud.look.failed", cloud=self._cloud)
            return Seen(self._cloud, fault=CloudFault(f"{type(error).__name__}: {error}"))

    def _reached(self, node: CloudNode) -> CloudNode:
        """An arriving node, as we reach it."""
        return tunnels.arrived(self._runtime, reconcile.machine_of(node), node) if node.state == "running" else node


def _host_keys(cloud: Cloud, nodes: list[CloudNode], arriving: frozenset[str]) -> dict[str, str | None]:
    """Of arriving nodes that run, where their cloud keeps them elsewhere than in the list.

    One that is not known yet is asked for next time again; so are the rest once the cloud is busy or silent.
    """
    asked = [node for node in nodes if node.state == "running" and node.host_key is None and node.id in arriving]
    keys: dict[str, str | None] = {}
    for node in random.sample(asked, len(asked)):  # one whose console hangs is not always the first
        try:
            keys[node.id] = cloud.vouch(node)
        except CloudFault as error:
            log.warning("cloud.vouch.failed", node=node.id, error=error.message)
            if isinstance(error, CloudBusy | CloudUnreachable):
                break
    return keys


def _room(cloud: Cloud) -> Room | None:
    """A cloud that lists its machines is there, whether it says its room or not."""
    try:
        return cloud.room()
    except CloudFault as error:
        log.warning("cloud.room.unknown", error=error.message)
        return None
