"""The look at a desktop before a user gets it: the very desktop, on a display of its own, and never in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from agents.protocol import PROBE_DOOR
from broker.errors import AgentRefused
from tests.integration.machine.desk import USER, Desk
from tests.screens import colours
from tests.waiting import until


def test_a_probe_shows_the_desktop_and_leaves_nothing(light: Desk) -> None:
    answer = light.probe()
    assert answer.home_writable
    assert colours(light.frame(answer.vnc_port)) > 500
    assert "icewm" in light.root("pgrep -u beamdesk-probe -l")
    light.end_probe()
    until(lambda: not light.root("pgrep -u beamdesk-probe -l"), "the probe's processes to end", 10)
    until(lambda: "beamdesk-probe" not in light.root("ls -A /home"), "the probe's home to go", 10)
    assert light.status().session is None


def test_probes_may_follow_each_other_at_once(light: Desk) -> None:
    for _ in range(2):
        assert light.probe().vnc_port == PROBE_DOOR
    light.end_probe()
    light.end_probe()


def test_a_desktop_that_does_not_start_is_reported_with_its_last_words(light: Desk) -> None:
    start = "/usr/local/lib/beamdesk/light-desktop"
    light.root(f"cp -p {start} /root/; printf '#!/bin/sh\\necho no licence for it >&2; exit 3\\n' > {start}")
    with pytest.raises(AgentRefused, match="no licence for it") as caught:
        light.probe()
    assert caught.value.facts["reason"] == "desktop-ended"
    light.root(f"cp -p /root/light-desktop {start}")
    assert light.probe().home_writable
    light.end_probe()


def test_an_attach_ends_a_running_probe_and_goes_on(fresh: Callable[[str], Desk]) -> None:
    desk = fresh("light")
    desk.probe()
    desk.attach()
    until(lambda: not desk.root("pgrep -u beamdesk-probe -l"), "the probe's processes to end", 10)
    assert colours(desk.frame()) > 500
    until(lambda: desk.root("ls -A /home").split() == [USER], "the probe's home to go", 10)


def test_an_attach_overtakes_a_probe_that_is_just_starting(fresh: Callable[[str], Desk]) -> None:
    desk = fresh("light")
    outcomes: list[str] = []

    def probe() -> None:
        try:
            desk.probe()
            outcomes.append("painted")
        except AgentRefused as error:
            outcomes.append(str(error.facts["reason"]))

    probing = threading.Thread(target=probe)
    probing.start()
    until(lambda: desk.root("pgrep -u beamdesk-probe -l"), "the probe to begin", 10, every=0.005)
    desk.attach()
    probing.join(30)
    assert outcomes[0] in {"attached", "painted", "desktop-ended"}
    until(lambda: not desk.root("pgrep -u beamdesk-probe -l"), "the probe's processes to end", 10)
    assert desk.status().desktop == "running"
