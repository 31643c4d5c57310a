"""How long a listener may be silent, and may leave the sound untaken."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from websockify.websocket import WebSocket, WebSocketWantReadError

from broker.gateways.carry import Ended
from broker.gateways.patience import Patience
from broker.gateways.sound import Listening
from broker.gateways.viewer import Viewer
from tests.unit.gateways.test_carry import _in_tls, _joined
from tests.unit.gateways.test_ogg import page

Between = tuple[WebSocket, ssl.SSLSocket, Listening]
HASTY = Patience(heartbeat=0.02, silence=0.3)


@pytest.fixture
def between() -> Iterator[Between]:
    """A browser, a machine, and what carries from the one to the other."""
    browser, viewer = WebSocket(), Viewer(None)
    browser.client, viewer.client = True, False
    browser.socket, viewer.socket = _joined()
    machine, inner = _in_tls(*_joined())
    for side in (browser, viewer, inner):
        side.setblocking(False)
    yield browser, machine, Listening(viewer, inner, HASTY)
    for side in (browser.socket, viewer.socket, machine, inner):
        side.close()


def test_a_listener_that_answers_pings_stays_though_there_is_no_sound_and_one_that_does_not_is_let_go(
    between: Between,
) -> None:
    browser, _, listening = between
    for _ in range(40):  # of which half are waits for a heartbeat: more than one may be silent
        listening.turn()
        with suppress(WebSocketWantReadError):
            browser.recvmsg()
    assert over(listening, 100) == "the listener does not answer any more"


def test_a_listener_that_takes_nothing_any_more_is_let_go_though_the_machine_goes_on(between: Between) -> None:
    _, machine, listening = between

    def go_on() -> None:
        machine.sendall(page(bytes([255] * 60 + [0])))
        listening.turn()

    assert "any more" in over(listening, 1_000_000, go_on)


def over(listening: Listening, turns: int, turn: Callable[[], None] | None = None) -> str:
    """Why it ends, within so many turns."""
    try:
        for _ in range(turns):
            (turn or listening.turn)()
    except Ended as ended:
        return str(ended)
    return ""
