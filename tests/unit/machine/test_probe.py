"""The probe's look at a home."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.machine.probe import _writable
from agents.machine.seat import Seat


@pytest.mark.parametrize(("home", "writable"), [("here", True), ("/proc", False), ("/no/such/home", False)])
def test_only_a_home_that_keeps_a_file_is_writable(tmp_path: Path, home: str, writable: bool) -> None:
    folder = str(tmp_path) if home == "here" else home
    assert _writable(Seat("probe", 2, 990, "beamdesk-probe", folder, "1280x720", rdp=False)) is writable
