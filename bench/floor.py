"""Runs on a machine, as a user: starts its environment's desktop by hand; prints seconds until it is painted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, "/usr/local/sbin/beamdesk-agent")  # for the same eyes; nothing of it starts anything here

from agents.machine import painted, seat
from agents.machine.x11 import Display

desktop = seat.desktop()
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
    own = {"HOME": home, "DISPLAY": ":7", "XDG_RUNTIME_DIR": home, "LANG": "C.UTF-8", "XDG_SESSION_TYPE": "x11"}
    began = time.monotonic()
    told, tell = os.pipe()
    display = ["Xtigervnc", ":7", "-SecurityTypes", "None", "-displayfd", str(tell), "-geometry", "1600x900"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    server = subprocess.Popen([*display, "-depth", "24", "-rfbport", "5907"], pass_fds=[tell], **quiet)
    os.read(told, 16)
    command = ["dbus-run-session", "--", *desktop.command]
    programs = subprocess.Popen(command, env={**os.environ, **own, **desktop.environment}, **quiet)
    with Display(7, b"") as eyes:
        while painted.missing(eyes, desktop):
            time.sleep(0.01)
    print(time.monotonic() - began)
    for process in (programs, server):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
