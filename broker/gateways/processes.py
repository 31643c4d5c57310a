"""A desktop's process is named after its connection's row, so that it is known for certain, whoever its parent is.

A process's number may be another's by the time that one looks; its name says which row it carries. So a gateway
can end the desktops of one that was killed, and never ends anything else.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def fork(work: Callable[[], None]) -> int:
    """A child that does this work and ends; its number. A pipe that the other side left is no error."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except (EOFError, BrokenPipeError):
        status = 0
    except Exception:
        sys.excepthook(*sys.exc_info())  # whoever carries for the RDP gateway has no logger (rdp_carriers.py)
    finally:
        os._exit(status)


def gateway_name() -> str:
    """The name under which this host's gateways write their rows: the host's, and its space of process numbers."""
    return f"{socket.gethostname()[:60]}/{Path('/proc/self/ns/pid').stat().st_ino}"


def take_name(connection_id: int) -> None:
    """Let this process be known as the one that carries this connection; `ps` and `top` show it."""
    Path("/proc/self/comm").write_text(_name(connection_id))


def carries(pid: int, connection_id: int) -> bool:
    """Whether this process lives and carries this connection."""
    with suppress(OSError):
        _, name, state = Path(f"/proc/{pid}/stat").read_text().split(maxsplit=3)[:3]
        return name == f"({_name(connection_id)})" and state != "Z"  # a zombie's name is there until it is reaped
    return False


def end(pid: int, connection_id: int, number: signal.Signals) -> None:
    """Send the signal to the process, if it still is the one that carries this connection."""
    with suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if carries(pid, connection_id):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _name(connection_id: int) -> str:
    return f"desk-{connection_id}"
