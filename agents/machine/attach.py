"""Gives the machine to a session, and ends it. Every step may be repeated: attach again after a kill completes it."""

from __future__ import annotations

import os
from dataclasses import replace

from agents.machine import account, door, painted, probe, state, supervisor
from agents.machine.faults import AgentError
from agents.machine.seat import Seat, desktop
from agents.machine.state import Attached
from agents.protocol import RDP_DOOR, VNC_DOOR, AttachAnswer, AttachRequest, Nothing

_PAINT_SECONDS, _DOOR_SECONDS = 20.0, 5.0


def attach(request: AttachRequest, started: float) -> AttachAnswer:
    """Make the account, start the desktop on :1 and answer when it is painted and its doors are open."""
    marks = painted.Marks(started)
    with state.turn("attach"):
        look = desktop()
        _claim(request)
        probe.end_any()
        seat = seat_of(request.user, request.uid, request.home, request.geometry)
        seat.prepare(request.password)
        go = supervisor.launch(seat)
        account.ensure(request)
        marks.reach("account_ms")
        _tell(go)
        painted.wait(seat, look, marks, _PAINT_SECONDS, lambda: _tell(supervisor.launch(seat)))
        door.wait(seat, _DOOR_SECONDS)
    marks.reach("total_ms")
    return AttachAnswer(f":{seat.display}", VNC_DOOR, RDP_DOOR, marks.timings)


def _claim(request: AttachRequest) -> None:
    current = state.read()
    if current and current.session != request.session:
        raise AgentError("attached-to-another", f"This machine was given to session {current.session}.")
    if current and current.detached:
        raise AgentError("detached", f"Session {current.session} has ended on this machine.")
    account.check(request)
    state.write(Attached(request.session, request.user, request.uid, request.home, request.lease_ends))


def _tell(go: int | None) -> None:
    if go is not None:
        os.write(go, b"1")
        os.close(go)


def seat_of(user: str, uid: int, home: str, geometry: str = "") -> Seat:
    """The session's seat."""
    return Seat("session", 1, uid, user, home, geometry, rdp=True)


def detach(_: Nothing, __: float) -> Nothing:
    """End all that the user runs; this machine is not attached again."""
    with state.turn("attach"):
        current = state.read()
        if current is None:
            raise AgentError("not-attached", "This machine has no session.")
        state.write(replace(current, detached=True))
        supervisor.end(seat_of(current.user, current.uid, current.home), seconds=5.0)
        (account.PRINCIPALS / current.user).unlink(missing_ok=True)
    return Nothing()
