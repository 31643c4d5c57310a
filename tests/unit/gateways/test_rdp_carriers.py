"""What makes the processes of desktops by Remote Desktop stays small."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"agents", "cryptography", "logging", "pydantic", "random", "sqlalchemy", "structlog", "threading"}


def test_who_carries_has_loaded_nothing_else() -> None:
    """Each of these makes forks slower and desktops larger; the office and the listening process have them."""
    program = "import sys, broker.gateways.rdp_carriers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert "broker.gateways.joining" in done.stdout.split()
    assert HEAVY.isdisjoint(done.stdout.split())
