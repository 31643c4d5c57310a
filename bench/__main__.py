"""python -m bench [NAME]: all benchmarks, or one."""

from __future__ import annotations

import importlib
import sys

NAMES = (
    "audit",
    "claim",
    "clouds",
    "desktops",
    "gateways",
    "idle",
    "launch",
    "localcloud",
    "signin",
    "simulate",
    "ssh_gateway",
    "storm",
    "tunnel",
)

if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.exit(f"There is no benchmark {name!r}; there are {', '.join(NAMES)}.")
        importlib.import_module(f"bench.{name}").main()
