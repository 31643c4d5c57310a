"""The science environment: XFCE with tools that start, and a log-out that gives a fresh desktop."""

from __future__ import annotations

import pytest

from agents.protocol import PROBE_DOOR
from tests.integration.machine.desk import USER, Desk
from tests.screens import colours, difference
from tests.waiting import until


@pytest.fixture(scope="module")
def desk(science: Desk) -> Desk:
    """The machine with its session attached, after a probe as the broker does it."""
    assert science.probe().home_writable
    assert colours(science.frame(PROBE_DOOR)) > 500
    science.attach()
    return science


def test_panel_and_wallpaper_are_painted_when_the_attach_answers(desk: Desk) -> None:
    picture = desk.frame()
    wallpaper, panel = picture.crop((200, 100, 1200, 700)), picture.crop((0, 765, 1280, 800))
    assert colours(wallpaper) > 500
    assert colours(panel) > 50, "the launchers' icons are there"


def test_the_tools_for_plots_and_data_open(desk: Desk) -> None:
    before = desk.frame()
    desk.user("/usr/local/bin/jupyter-console-with-plots > /dev/null 2>&1 &")
    desk.user("silx view /usr/local/share/beamdesk/examples/powder.h5 > /dev/null 2>&1 &")
    until(lambda: "Silx" in desk.user("xdotool search --onlyvisible --name Silx getwindowname"), "the data viewer", 60)
    until(
        lambda: "Jupyter" in desk.user("xdotool search --onlyvisible --name Jupyter getwindowname"), "the console", 60
    )
    assert difference(before, desk.frame()) > 0.05


def test_the_example_runs(desk: Desk) -> None:
    said = desk.user("MPLBACKEND=agg python3 -W ignore /usr/local/share/beamdesk/examples/plot.py")
    assert said.startswith("lines at 2θ = 28.4"), "the first line of silicon"


def test_every_launcher_names_a_program_that_is_installed(desk: Desk) -> None:
    missing = desk.user(
        "sed -n 's/^Exec=\\([^ ]*\\).*/\\1/p' /usr/local/share/applications/*.desktop"
        " | while read program; do command -v $program > /dev/null || echo $program; done"
    )
    assert missing == ""


def test_a_notice_is_shown(desk: Desk) -> None:
    desk.notify("Your session ends in 10 minutes", "Save your work.")
    until(lambda: desk.windows("xfce4-notifyd"), "the notice's window", 10)


def test_no_sound_server_runs_where_nothing_plays(desk: Desk) -> None:
    """Debian's would be started with each Xfce."""
    assert desk.pids("xfce4-session")
    assert not desk.pids("pulseaudio")


def test_a_log_out_gives_a_fresh_desktop(desk: Desk) -> None:
    before = desk.pids("xfce4-session")
    desk.user("xfce4-session-logout --logout --fast")
    until(lambda: desk.pids("xfce4-session") - before, "a fresh session", 20)
    until(lambda: desk.windows("Xfce4-panel"), "its panel", 20)
    assert not desk.windows("silx")
    assert "xfconfd" in desk.root(f"pgrep -u {USER} -l")
