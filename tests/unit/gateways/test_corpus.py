"""What the fuzzer begins with, and what it ever found, gone through without it; `make fuzz` looks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[2] / "fuzz/corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_no_parser_breaks_what_it_promises(name: str) -> None:
    """Each file as it is, cut at each place, and with each byte turned round."""
    files = list((CORPUS / name).iterdir())
    assert files
    for data in (file.read_bytes() for file in files):
        TARGETS[name](data)
        for place, byte in enumerate(data):
            TARGETS[name](data[:place])
            TARGETS[name](data[:place] + bytes([byte ^ 0xFF]) + data[place + 1 :])
