"""One thread at a time turns Python into a syntax tree.

Python 3.11 counts the depth of that in one place for all threads (gh-106905). Where the garbage collector calls back
in the middle of it, as hypothesis lets it, and another thread parses too, SystemError ends whoever parsed: pytest, as
it shows a failure, and with it a whole worker. This may go with Python 3.11.
"""

from __future__ import annotations

import ast
import functools
import threading
from typing import Any

_turn = threading.RLock()


def take_turns() -> None:
    """From now on, in this process."""
    parse = ast.parse

    @functools.wraps(parse)
    def in_turn(*arguments: Any, **more: Any) -> ast.AST:
        with _turn:
            return parse(*arguments, **more)

    ast.parse = in_turn  # type: ignore[assignment]
