"""A session's sound: a sound server that starts with the first program that calls, and an encoder for each listener.

Until then nothing of it runs, and no launch waits for it. Two sockets lie in a folder of root's. One is the sound
server's, handed over when a program calls (sd_listen_fds(3)), so a server is found there even where one has ended. The
other is what the door leads to: who comes is sent Ogg with Opus until they leave. It is open to the doors' account
alone, so nothing of the machine listens without a gateway.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from threading import Lock

from agents.machine.door import ACCOUNT
from agents.machine.seat import Seat, groups_of

MOST = 8  # who listen at a time
_PAUSE = 0.5  # seconds before what has ended at once is started again

# Its sink has no rewinds: so it never renders more than 50 ms ahead, where else the first to listen waits for 2 s.
_SERVER = """
exec 3<&0 < /dev/null
LISTEN_PID=$$ LISTEN_FDS=1 exec pulseaudio -n --daemonize=no --use-pid-file=no --exit-idle-time=20 \\
    --realtime=no --high-priority=no --log-target=stderr \\
    --load="module-native-protocol-unix socket=$1" \\
    --load="module-null-sink sink_name=desktop sink_properties=device.description=Desktop norewinds=1 rate=48000" \\
    --load=module-suspend-on-idle
"""
# Each packet is 20 ms, and leaves at once in a page of its own.
_ENCODER = """
parec --device=@DEFAULT_MONITOR@ --raw --format=s16le --rate=48000 --channels=2 \\
    --latency-msec=20 --process-time-msec=10 |
exec gst-launch-1.0 -q fdsrc blocksize=3840 do-timestamp=true \\
    ! rawaudioparse format=pcm pcm-format=s16le sample-rate=48000 num-channels=2 \\
    ! opusenc bitrate=96000 frame-size=20 audio-type=restricted-lowdelay \\
    ! oggmux max-delay=0 max-page-delay=10000000 ! fdsink fd=3 3>&1 1>&2
"""


def keep(seat: Seat, starting: Lock) -> None:
    """Serve the seat's programs and listeners for ever. `starting` is held for each start of a program: who takes it
    for good can end them all."""
    sound = Sound(seat, starting)
    while True:
        try:
            sound.turn()
        except OSError as error:  # out of processes, of descriptors, or of memory
            print(f"sound: {error}", file=sys.stderr, flush=True)
            time.sleep(_PAUSE)


class Sound:
    """The loop over both sockets, and over what was started for them."""

    def __init__(self, seat: Seat, starting: Lock) -> None:
        self._seat, self._starting = seat, starting
        self._selector = DefaultSelector()
        self._listeners: set[socket.socket] = set()
        self._calls = _listen(seat.sound_server, mode=0o600, uid=seat.uid, gid=seat.uid)
        door = _listen(seat.sound, mode=0o660, uid=0, gid=pwd.getpwnam(ACCOUNT).pw_gid)
        self._when(self._calls, self._serve)
        self._when(door, lambda: self._welcome(door.accept()[0]))

    def turn(self) -> None:
        """Wait until there is something to do, and do it."""
        for key, _ in self._selector.select():
            if self._selector.get_map().get(key.fd) is key:  # it may have gone by what was done just now
                key.data()

    def _when(self, source: socket.socket | int, act: Callable[[], None]) -> None:
        self._selector.register(source, EVENT_READ, act)

    def _serve(self) -> None:
        """A program calls: the server answers from now on."""
        process = self._start("sound", _SERVER, stdin=self._calls.fileno())
        self._selector.unregister(self._calls)
        Run(process, self._selector, lambda: self._when(self._calls, self._serve))

    def _welcome(self, listener: socket.socket) -> None:
        if len(self._listeners) >= MOST:
            listener.close()
            return
        self._listeners.add(listener)
        self._encode(listener)

    def _encode(self, listener: socket.socket) -> None:
        try:
            process = self._start("listening", _ENCODER, stdout=listener.fileno())
        except OSError:
            self._dismiss(listener)
            raise
        run = Run(process, self._selector, lambda: self._encode_again(listener))
        self._when(listener, lambda: self._hear(listener, run))

    def _encode_again(self, listener: socket.socket) -> None:
        """The sound server may have ended: its next one is heard by the same listener."""
        self._selector.unregister(listener)
        self._encode(listener)

    def _hear(self, listener: socket.socket, run: Run) -> None:
        """A listener has nothing to say; at its end the encoder ends."""
        with suppress(OSError):
            if listener.recv(4096):
                return
        run.end()
        self._selector.unregister(listener)
        self._dismiss(listener)

    def _dismiss(self, listener: socket.socket) -> None:
        self._listeners.discard(listener)
        listener.close()

    def _start(
        self, name: str, script: str, stdin: int = subprocess.DEVNULL, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        group, groups = groups_of(self._seat.uid)
        with self._starting, self._seat.log(name).open("wb") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", script, name, str(self._seat.sound_server)],
                stdin=stdin,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
                user=self._seat.uid,
                group=group,
                extra_groups=groups,
                cwd="/",
                env=self._environment(),
            )

    def _environment(self) -> dict[str, str]:
        registry = str(self._seat.runtime_folder / "gstreamer-registry")  # else it would lie in the home
        server = f"unix:{self._seat.sound_server}"
        return {**self._seat.environment(), "PULSE_SERVER": server, "GST_REGISTRY": registry, "GST_REGISTRY_FORK": "no"}


class Run:
    """A program that runs; `ended` is called once it has ended by itself, and not at once where it has just begun."""

    def __init__(self, process: subprocess.Popen[bytes], selector: DefaultSelector, ended: Callable[[], None]) -> None:
        self._process, self._selector, self._ended = process, selector, ended
        self._began = time.monotonic()
        self._handle = os.pidfd_open(process.pid)
        selector.register(self._handle, EVENT_READ, self._gone)

    def end(self) -> None:
        """End it, with all that it started."""
        self._selector.unregister(self._handle)
        os.close(self._handle)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _gone(self) -> None:
        self.end()
        if time.monotonic() - self._began < _PAUSE:
            time.sleep(_PAUSE)
        self._ended()


def _listen(path: Path, *, mode: int, uid: int, gid: int) -> socket.socket:
    """A unix socket that this account, and this group, may connect to."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    os.chown(path, uid, gid)
    path.chmod(mode)
    made.listen(64)
    return made
