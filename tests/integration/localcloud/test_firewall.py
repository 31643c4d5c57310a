"""The firewall that every machine has: SSH and the doors, from where the broker comes, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from agents.protocol import PROBE_DOOR, RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, SOUND_DOOR, VNC_DOOR

OPEN = (22, RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, VNC_DOOR, PROBE_DOOR, SOUND_DOOR)
ROOT = Path(__file__).parents[3]
CASES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "from anywhere, where nothing is said": ([], ("10.9.0.2", "10.9.0.3", "2001:db8::2")),
    "from one address": (["10.9.0.3"], ("10.9.0.3",)),
    "from networks of both families": (["10.9.0.2/31", "2001:db8::/32"], ("10.9.0.2", "10.9.0.3", "2001:db8::2")),
    "from an address of IPv6 alone": (["2001:db8::2"], ("2001:db8::2",)),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of each case, in a real network of two namespaces."""
    line = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.integration.localcloud.walled"]
    asked = json.dumps({name: addresses for name, (addresses, _) in CASES.items()})
    folder = tmp_path_factory.mktemp("walled")
    return json.loads(
        subprocess.run(
            [*line, str(folder)], input=asked, check=True, stdout=subprocess.PIPE, text=True, timeout=60, cwd=ROOT
        ).stdout
    )


@pytest.mark.parametrize("case", CASES)
def test_ssh_and_the_doors_are_let_in(found: Any, case: str) -> None:
    """And none of what listens besides; said again, nothing changes."""
    assert {tuple(pair) for pair in found[case]["in"]} == set(product(CASES[case][1], OPEN))
    assert found[case]["said"] == ["changed\n", ""]
