"""Machines."""

from __future__ import annotations

from datetime import datetime

from web.api.schemas import Given


class MachineOut(Given):
    """One machine that is not gone."""

    id: int
    name: str
    pool: str
    environment: str
    place: str
    size: str
    state: str
    state_seconds: float
    age_seconds: float
    session: int | None
    address: str | None
    failure: str | None
    evidence: bool
    probed_at: datetime | None
