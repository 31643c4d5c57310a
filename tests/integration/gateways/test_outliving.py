"""An open desktop outlives its gateway's listening process, however that ends; and nothing is left in the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from broker.gateways.processes import carries
from broker.sessions import service
from tests.integration.gateways.lab import Desk, Lab, Screen
from tests.waiting import until


@pytest.fixture(scope="module")
def mortal_lab(tmp_path_factory: pytest.TempPathFactory, redis_url: str, screen: Screen) -> Iterator[Lab]:
    """A gateway that these tests end; each starts it again."""
    with closing(Lab(tmp_path_factory.mktemp("mortal"), redis_url)) as made:
        yield made


@pytest.fixture
def desk(mortal_lab: Lab) -> Iterator[Desk]:
    """Alice's ready session, at the mortal gateway."""
    with closing(mortal_lab.desk()) as made:
        yield made
    until(lambda: len(mortal_lab.gateway.children()) == 1, "all processes but the watcher to end")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_open_desktops_outlive_their_gateway_and_the_next_one_watches_them(desk: Desk, number: signal.Signals) -> None:
    """A new gateway listens on the same port at once, and closes the old one's desktops when their session ends."""
    gateway, elsewhere = desk.lab.gateway, desk.lab.desk("bob")
    old, stays = desk().greet(), elsewhere().greet()
    gateway.end(number)
    assert old.is_alive()
    gateway.start_again()
    new = desk().greet()
    assert old.is_alive()
    service.end(desk.lab.runtime, desk.person, desk.session_id)
    for viewer in (old, new):
        closed = viewer.end()
        assert (closed.code, closed.reason) == (1001, "Beamdesk closed this desktop")
    until(lambda: len(desk.rows(open_=False)) == 2, "the rows to be closed")
    assert stays.is_alive()
    elsewhere.close()


def test_a_session_that_ends_while_no_gateway_runs_is_closed_by_the_next(desk: Desk) -> None:
    """What happened while nobody watched is found."""
    viewer = desk().greet()
    desk.lab.gateway.end(signal.SIGKILL)
    service.end(desk.lab.runtime, desk.person, desk.session_id)
    desk.lab.gateway.start_again()
    assert viewer.end().code == 1001


def test_a_viewer_that_leaves_while_no_gateway_runs_is_written_down_by_the_next(desk: Desk) -> None:
    """Its process ends by itself; its row is closed once somebody watches."""
    viewer = desk().greet()
    row = desk.rows(open_=True)[0]
    desk.lab.gateway.end(signal.SIGKILL)
    viewer.socket.close()
    until(lambda: not carries(row.pid, row.id), "the process to end")
    desk.lab.gateway.start_again()
    until(lambda: desk.rows(open_=False), "the row to be closed")


def test_a_watcher_that_dies_is_replaced(desk: Desk) -> None:
    """Desktops are closed by the one that is there when their session ends."""
    viewer = desk().greet()
    gateway = desk.lab.gateway
    watcher = min(gateway.children())
    os.kill(watcher, signal.SIGKILL)
    until(lambda: len(gateway.children() - {watcher}) == 2, "another watcher")
    service.end(desk.lab.runtime, desk.person, desk.session_id)
    assert viewer.end().code == 1001


def test_a_gateway_that_drains_waits_for_its_desktops_and_lets_nobody_in(own_lab: Callable[..., Lab]) -> None:
    """Where desktops would die with it, in a container, it stays until they are closed."""
    lab = own_lab(drain_seconds=60)
    desk = lab.desk()
    viewer = desk().greet()
    lab.gateway.process.send_signal(signal.SIGTERM)
    until(lambda: "gateway.stopping" in lab.gateway.log.read_text(), "it to stop listening")
    with pytest.raises(ConnectionRefusedError):
        desk()
    assert viewer.is_alive()
    service.end(lab.runtime, desk.person, desk.session_id)
    assert viewer.end().code == 1001
    assert lab.gateway.process.wait(20) == 0


def test_many_that_end_at_once_disturb_nobody(desk: Desk) -> None:
    """The listening process buries its children while others open and work."""
    stays = desk().greet()
    leaving = [desk.lab.desk() for _ in range(10)]
    for viewer in [other().greet() for other in leaving]:
        viewer.socket.close()
    assert desk().greet().is_alive()
    assert stays.is_alive()


def test_nothing_is_left_in_the_end(desk: Desk) -> None:
    """After refusals, desktops, rude and polite ends: no process but the watcher, no descriptor more, no open row."""
    gateway = desk.lab.gateway
    desk().greet().socket.close()
    until(lambda: desk.rows(open_=False), "the first row to be closed")
    before = gateway.descriptors()
    for _ in range(5):
        desk("made-up")
        desk().greet()
        desk().greet().frame()
        desk.close()
        until(lambda: not desk.rows(open_=True), "the rows to be closed")
    until(lambda: gateway.processes() == 2, "all processes but the listening one and the watcher to end")
    assert gateway.descriptors() == before
    gateway.end(signal.SIGTERM)
    until(lambda: gateway.processes() == 0, "the watcher to end with its gateway")
    gateway.start_again()
