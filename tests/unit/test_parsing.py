"""A failure can be shown while other threads show theirs."""

from __future__ import annotations

import ast
import gc
import sys
import threading
from pathlib import Path


def test_threads_that_parse_at_once_do_not_disturb_each_other() -> None:
    """With a collector that calls back, and threads that change places as often as they can."""
    source, failed = Path(ast.__file__).read_text(), []

    def parse(deeper: int) -> None:
        if deeper:
            return parse(deeper - 1)
        try:
            for _ in range(4):
                ast.parse(source)
        except SystemError as error:
            failed.append(error)

    usual, callback = sys.getswitchinterval(), lambda *_: [None for _ in range(3)]
    gc.callbacks.append(callback)
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=parse, args=(10 * n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
        gc.callbacks.remove(callback)
    assert failed == []
