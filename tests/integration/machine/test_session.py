"""A session on a light machine, from the attach to its end: what the broker promises a user and keeps from others."""

from __future__ import annotations

import itertools
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agents.machine.seat import RDP_PORT, RDP_PORT_WITHOUT_CLIPBOARD
from agents.machine.sound import MOST
from agents.protocol import RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, SOUND_DOOR
from broker import rfb
from broker.configuration import doors
from broker.errors import AgentRefused
from broker.gateways.ogg import Pages
from tests.doors import through
from tests.integration.machine.desk import PASSWORD, UID, USER, Desk
from tests.screens import colours, difference, screen
from tests.waiting import until


@pytest.fixture(scope="module")
def desk(light: Desk) -> Desk:
    """The machine with its session attached, as every test here finds it."""
    light.attach()
    return light


def reason(desk: Desk, **changed: object) -> str:
    """Why the agent refuses an attach that differs in this."""
    with pytest.raises(AgentRefused) as caught:
        desk.attach(replace(desk.request, **changed))  # type: ignore[arg-type]
    return str(caught.value.facts["reason"])


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"user": "daemon"}, "account-conflict"),
        ({"user": "nobody", "uid": 20002}, "account-conflict"),
        ({"home": "/home/nobody-there"}, "no-home"),
        ({"uid": UID + 1}, "wrong-home"),
    ],
)
def test_an_account_or_home_that_cannot_be_the_users_leaves_the_machine_vacant(
    light: Desk, changed: dict[str, object], code: str
) -> None:
    assert reason(light, **changed) == code
    assert light.status().session is None


def test_the_desktop_is_painted_when_the_attach_answers(light: Desk) -> None:
    answer = light.attach()
    picture = light.frame(answer.vnc_port)
    assert picture.size == (1280, 800)
    assert colours(picture) > 500
    assert light.windows("XTerm")
    assert set(answer.timings) == {"account_ms", "vnc_ms", "paint_ms", "total_ms"}
    assert light.status().desktop == "running"


def test_attaching_again_changes_nothing(desk: Desk) -> None:
    before = desk.pids("Xtigervnc"), desk.pids("icewm")
    assert desk.attach().display == ":1"
    assert (desk.pids("Xtigervnc"), desk.pids("icewm")) == before


def test_a_second_session_is_refused(desk: Desk) -> None:
    assert reason(desk, session="43") == "attached-to-another"
    assert desk.status().session == "42"


def test_a_probe_never_touches_an_attached_machine(desk: Desk) -> None:
    with pytest.raises(AgentRefused) as caught:
        desk.probe()
    assert caught.value.facts["reason"] == "attached"


def test_what_is_typed_is_done_and_seen(desk: Desk) -> None:
    before = desk.frame()
    desk.user("xdotool search --onlyvisible --class XTerm windowfocus --sync type 'seq 40 | tee typed; echo typed'")
    desk.user("xdotool key Return")
    until(lambda: desk.root("cat /home/alice/typed").endswith("40\n"), "the typed command to run", 10)
    until(lambda: difference(before, desk.frame()) > 0.001, "the terminal to show it", 10)


def test_a_viewer_needs_the_password_and_is_counted(desk: Desk) -> None:
    with pytest.raises(rfb.RfbRefused, match="refused our password"):
        desk.frame(password="wrong-password")
    assert desk.status().viewers == 0
    with desk.viewer() as viewer:
        rfb.sign_in(viewer, PASSWORD)
        rfb.initialise(viewer)
        assert desk.status().viewers == 1


def test_a_viewer_who_only_looks_leaves_the_session_idle_and_input_is_use(desk: Desk) -> None:
    def idle() -> float:
        return until(lambda: desk.status().idle_seconds, "the machine to know", 30) or 0.0

    with desk.viewer() as viewer:
        rfb.sign_in(viewer, PASSWORD)
        rfb.initialise(viewer)
        until(lambda: idle() > 2, "the session to be idle", 20)
        assert desk.status().viewers == 1
        place = itertools.cycle((9, 19))

        def sign_after_a_move() -> str | None:
            viewer.sendall(b"\x05\x00" + bytes([0, next(place), 0, 9]))
            return desk.status().sign

        sign_after_a_move()
        until(lambda: idle() < 2, "the move of the mouse to count", 10)
        until(lambda: sign_after_a_move() == "input", "the supervisor to write it down", 60, every=1)
    desk.root(f"runuser -u {USER} -- sh -c 'head -c 50M /dev/zero > /dev/null; exec sleep 60' > /dev/null 2>&1 &")
    until(lambda: (desk.status().sign or "").startswith("transfer"), "the bytes to count as work", 40, every=1)


def test_many_failed_logins_lock_nobody_out(desk: Desk) -> None:
    for _ in range(12):
        with pytest.raises(rfb.RfbRefused):
            desk.frame(password="wrong-password")
    assert colours(desk.frame()) > 500


def test_other_accounts_cannot_join_the_display(desk: Desk) -> None:
    line = "setpriv --reuid=beamdesk-probe --regid=beamdesk-probe --clear-groups env DISPLAY=:1"
    assert "unable to open" in desk.root(f"{line} xdpyinfo 2>&1")
    assert "unable to open" in desk.root(f"{line} XAUTHORITY=/run/beamdesk/session/xauthority xdpyinfo 2>&1")


def test_the_password_is_nowhere_to_be_read(desk: Desk) -> None:
    assert PASSWORD not in desk.root("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null | tr '\\0' '\\n'")
    assert desk.root(f"grep -rlF {PASSWORD} /etc /run /var/lib/beamdesk /var/log 2> /dev/null") == ""
    assert desk.root("stat -c %a:%U /run/beamdesk/session/vnc-password /run/beamdesk/session/xauthority").split() == [
        f"400:{USER}",
        f"600:{USER}",
    ]


def test_the_home_is_the_users_with_its_first_files(desk: Desk) -> None:
    assert desk.root(f"stat -c %u:%a /home/{USER}").strip() == f"{UID}:700"
    owners = set(desk.root(f"stat -c %u /home/{USER}/.bashrc /home/{USER}/.profile").split())
    assert owners == {str(UID)}


def test_a_notice_is_shown_in_the_desktop(desk: Desk) -> None:
    before = desk.frame()
    desk.notify("Your session ends in 10 minutes", "Save your work, or extend it — “soon”.")
    until(lambda: desk.windows("xfce4-notifyd"), "the notice's window", 10)
    until(lambda: difference(before, desk.frame()) > 0.001, "the notice to be painted", 10)


def test_a_log_out_gives_a_fresh_desktop_and_cuts_nobody_off(desk: Desk) -> None:
    icewm, terminal = desk.pids("icewm"), desk.pids("xterm")
    desk.user("nohup setsid sleep 4242 > /dev/null 2>&1 &")
    with desk.viewer() as viewer:
        rfb.sign_in(viewer, PASSWORD)
        rfb.initialise(viewer)
        desk.root(f"kill {' '.join(icewm)}")
        until(lambda: desk.pids("icewm") - icewm, "a fresh window manager", 10)
        until(lambda: desk.pids("xterm") - terminal and desk.windows("XTerm"), "a fresh terminal", 20)
        assert desk.status().viewers == 1
        viewer.sendall(b"\x03\x00" + bytes(4) + b"\x00\x10\x00\x10")
        assert rfb.exactly(viewer, 1) == b"\x00"
    assert not desk.pids("xterm") & terminal
    assert "4242" in desk.root(f"pgrep -u {USER} -a -x sleep"), "a log-out ends windows, not computations"


def test_a_crash_of_the_display_or_of_its_keeper_is_mended(desk: Desk) -> None:
    before = desk.pids("Xtigervnc")
    desk.root(f"kill -9 {' '.join(before)}")
    until(lambda: desk.pids("Xtigervnc") - before, "a fresh display", 10)
    until(lambda: desk.windows("XTerm"), "its terminal", 10)
    desk.root("kill -9 $(cat /run/beamdesk/session-supervisor.lock)")
    until(lambda: not desk.pids("Xtigervnc"), "the display to go with its keeper", 10)
    assert desk.status().desktop == "none"
    desk.attach()
    assert colours(desk.frame()) > 500


OF_SOUND = ("pulseaudio", "parec", "gst-launch-1.0")


def running(desk: Desk) -> dict[str, int]:
    """How many programs of each kind of the sound's run."""
    return {name: len(found) for name in OF_SOUND if (found := desk.pids(name))}


class Listener:
    """Who listens through the machine's door, as the gateway does."""

    def __init__(self, door: ssl.SSLSocket) -> None:
        self._door, self._pages = door, Pages()

    def loudest(self, count: int = 10) -> int:
        """Of the next pages, the bytes of the largest: of silence it has some 30, of a noise some 300."""
        found: list[bytes] = []
        while len(found) < count:
            said = self._door.recv(16384)
            assert said, "the machine has closed it"
            found += self._pages.hear(said)
        return max(map(len, found))

    def leave(self) -> None:
        self._door.close()


@contextmanager
def listening(desk: Desk) -> Iterator[Listener]:
    """A listener, who has heard the beginning."""
    with doors.reach(desk.state_dir, desk.target.name, desk.target.address, SOUND_DOOR, timeout=20) as door:
        made = Listener(door)
        made.loudest(3)
        yield made


QUIET, LOUD = 60, 150  # bytes of a page
PLAY = "timeout 30 paplay --raw --rate=48000 --channels=1 --format=s16le /dev/urandom > /dev/null 2>&1 &"


def test_what_plays_is_heard_through_its_door_and_nothing_runs_where_nobody_plays_or_listens(desk: Desk) -> None:
    """Each listener has an encoder, which goes with them, and hears the next sound server where one is killed."""
    assert running(desk) == {}, "an attach started something"
    with listening(desk) as first, listening(desk) as second:
        assert running(desk) == {"pulseaudio": 1, "parec": 2, "gst-launch-1.0": 2}
        assert first.loudest() < QUIET
        desk.user(PLAY)
        until(lambda: first.loudest() > LOUD and second.loudest() > LOUD, "the sound", 10)
        second.leave()
        until(lambda: running(desk)["gst-launch-1.0"] == 1, "the encoder of who left to end", 10)
        desk.root("pkill -KILL -x pulseaudio")
        until(lambda: first.loudest() < QUIET, "silence", 10)
        desk.user(PLAY)
        until(lambda: first.loudest() > LOUD, "the sound of the next server", 10)
        desk.root("pkill -KILL -x paplay")
    until(lambda: set(running(desk)) <= {"pulseaudio"}, "the last encoder to end", 10)


def test_so_many_listen_at_a_time_and_who_leaves_makes_room(desk: Desk) -> None:
    with ExitStack() as stack:
        inside = [stack.enter_context(listening(desk)) for _ in range(MOST)]
        with pytest.raises(AssertionError), listening(desk):
            pass
        inside[0].leave()
        until(lambda: running(desk)["gst-launch-1.0"] < MOST, "the encoder of who left to end", 10)
        with listening(desk):
            assert running(desk)["gst-launch-1.0"] == MOST
    until(lambda: set(running(desk)) <= {"pulseaudio"}, "the encoders to end", 10)


def test_nobody_of_the_machine_listens_without_a_gateway_or_takes_the_sound_servers_place(desk: Desk) -> None:
    """Neither the user nor another account; and no other account reaches the user's sound server."""
    knock = "import socket,sys; socket.socket(socket.AF_UNIX).connect('/run/beamdesk/session/' + sys.argv[1])"
    for who, name in ((USER, "sound"), ("nobody", "sound"), ("nobody", "sound-server")):
        said = desk.root(f'runuser -u {who} -- python3 -c "{knock}" {name} 2>&1; ls -ld /run/beamdesk/session')
        assert "PermissionError" in said, (who, name)
    assert desk.user(
        "rm /run/beamdesk/session/sound-server 2>&1; test -S /run/beamdesk/session/sound-server && echo there"
    )


def test_an_rdp_file_shows_the_same_desktop_without_a_question(desk: Desk, tmp_path: Path) -> None:
    """By the server without a clipboard, too."""
    for door, server in ((RDP_DOOR, RDP_PORT), (RDP_DOOR_WITHOUT_CLIPBOARD, RDP_PORT_WITHOUT_CLIPBOARD)):
        until(lambda server=server: desk.root(f"ss -Htln sport = :{server}"), "the RDP server", 15)
        with through(desk.state_dir, desk.target.name, (desk.target.address, door)) as port:
            _opens(desk, tmp_path, port)


def _opens(desk: Desk, tmp_path: Path, port: int) -> None:
    file = tmp_path / "session.rdp"
    file.write_text(
        f"full address:s:127.0.0.1:{port}\nusername:s:{USER}\x1f{PASSWORD}\nprompt for credentials:i:0\n"
        "enablecredsspsupport:i:0\nauthentication level:i:0\ndesktopwidth:i:1280\ndesktopheight:i:800\n"
        "session bpp:i:32\nscreen mode id:i:2\n"
    )
    with screen(1280, 800) as host, (tmp_path / "log").open("w") as log:
        line = ["xfreerdp", str(file), "/cert:ignore", "/f", "-decorations"]
        client = subprocess.Popen(line, env={"DISPLAY": host.display, "HOME": str(tmp_path)}, stdout=log, stderr=log)
        try:
            until(lambda: difference(host.picture(), desk.frame()) < 0.02, "RDP and VNC to show the same", 20)
            assert colours(host.picture()) > 500
        finally:
            client.terminate()
            client.wait(10)


def test_rdp_refuses_a_wrong_password(desk: Desk, tmp_path: Path) -> None:
    there = through(desk.state_dir, desk.target.name, (desk.target.address, RDP_DOOR))
    with screen(640, 480) as host, there as port:
        line = ["xfreerdp", f"/v:127.0.0.1:{port}", f"/u:{USER}", "/p:wrong-password", "/cert:ignore"]
        client = subprocess.Popen(
            line,
            env={"DISPLAY": host.display, "HOME": str(tmp_path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: "Username or password error" in desk.root("cat /var/log/xrdp-sesman.log"), "the refusal", 20)
            assert desk.status().viewers == 0
        finally:
            client.terminate()
            client.wait(10)


def test_a_detached_machine_runs_nothing_of_the_user_and_is_not_attached_again(desk: Desk) -> None:
    with listening(desk):
        desk.detach()
    assert desk.root(f"pgrep -u {USER} -l") == ""
    assert desk.status().desktop == "none"
    assert desk.root("ss -Htln | grep -v :22") == ""
    assert reason(desk) == "detached"
    assert reason(desk, session="43") == "attached-to-another"
