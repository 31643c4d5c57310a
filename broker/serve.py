"""Starts the web process: gunicorn with threads, one worker, as docs/operators.md explains."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from broker.errors import BadSettings
from broker.settings import Settings

QUEUED = 600  # connections beyond those in threads: 500 that wait at web.server's doors, and who waits for a thread
HELD_ON = 1.0  # seconds for which a process that was killed may still hold its port


def port_must_be_free(key: str, listen: str) -> None:
    """Raise BadSettings where nobody can listen at the address that the setting `key` gives."""
    host, port = listen.rsplit(":", 1)
    deadline = time.monotonic() + HELD_ON
    while error := _refusal(host, int(port)):
        if time.monotonic() > deadline:
            raise BadSettings(
                f"{key} = {listen!r}: cannot listen there ({getattr(error, 'strerror', None) or error}).",
                hint=f"Stop what listens on port {port}, or give {key} another one in beamdesk.toml.",
            )
        time.sleep(0.05)


def _refusal(host: str, port: int) -> Exception | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            return error
    return None


def web(settings: Settings) -> None:
    """Become gunicorn. One worker process: launches run in its threads, live pages in its sockets."""
    port_must_be_free("web.listen", settings.web.listen)
    arguments = [
        sys.executable,
        "-m",
        "gunicorn",
        "wsgi:app",
        "--chdir",
        str(Path(__file__).resolve().parent.parent),
        "--bind",
        settings.web.listen,
        "--worker-class",
        "web.server.worker.Worker",
        "--workers",
        "1",
        "--threads",
        str(settings.web.threads),
        "--worker-connections",
        str(settings.web.threads + QUEUED),
        "--graceful-timeout",
        "3",
        "--timeout",
        "60",
        "--keep-alive",
        "15",
        "--no-control-socket",
        "--log-level",
        "warning",
        "--worker-tmp-dir",
        "/dev/shm",  # noqa: S108 - gunicorn's own private files
    ]
    os.environ["BEAMDESK_CONFIG"] = str(Path(os.environ["BEAMDESK_CONFIG"]).absolute())
    os.execv(sys.executable, arguments)
