"""Who gives a command: what an operator's command does stands in the audit log under the operating system's user."""

from __future__ import annotations

import os
import pwd
import socket

import click

from broker import events
from broker.events import Origin
from broker.logs import configure
from broker.runtime import Runtime


def runtime() -> Runtime:
    """The deployment, for the rest of the command that runs now; what it does is its caller's."""
    from broker.runtime import current  # at each use, as all commands do

    configure()
    click.get_current_context().with_resource(events.coming(origin()))
    return current()


def origin() -> Origin:
    """This process's user on this host. Of root, sudo says who it was."""
    number = os.getuid()
    before = os.environ.get("SUDO_USER") if number == 0 else None
    via = f"command by sudo of {before}" if before else "command"
    return Origin(client=socket.gethostname()[:64], via=via[:64], actor=_name(number)[:64])


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
