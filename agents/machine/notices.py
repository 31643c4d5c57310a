"""Shows a notice in the user's desktop."""

from __future__ import annotations

import subprocess

from agents.machine import state
from agents.machine.attach import seat_of
from agents.machine.faults import AgentError
from agents.machine.seat import groups_of
from agents.protocol import Nothing, NotifyRequest


def notify(request: NotifyRequest, _: float) -> Nothing:
    """Hand the notice to the desktop's notification service, which is started if it does not run."""
    current = state.read()
    if current is None or current.detached:
        raise AgentError("not-attached", "This machine has no session.")
    seat = seat_of(current.user, current.uid, current.home)
    command = [
        "notify-send",
        f"--urgency={request.urgency}",
        "--app-name=Beamdesk",
        "--",
        request.title,
        request.text,
    ]
    group, groups = groups_of(seat.uid)
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=10,
            env=seat.environment(),
            user=seat.uid,
            group=group,
            extra_groups=groups,
        )
    except subprocess.TimeoutExpired:
        raise AgentError("not-shown", "The desktop did not take the notice within 10 s.") from None
    if run.returncode != 0:
        raise AgentError("not-shown", f"The desktop did not take the notice: {run.stderr.strip()}")
    return Nothing()
