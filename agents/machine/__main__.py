"""`beamdesk-agent VERB < request.json > answer.json`: exit 0 with the answer, or 1 with {"error": {...}}.

One verb is one short process, started over SSH as root; what must stay is left to a supervisor process. Each
verb's code is imported only when it is asked for, because the whole start-up is part of a launch. The request is one
line: a file's bytes may follow it, as they may follow the answer.
"""

from __future__ import annotations

import importlib
import sys
import time

from agents.machine.faults import AgentError
from agents.protocol import VERBS, Failure, Message, ProtocolError

# verb -> (module of agents.machine, function in it)
_HANDLERS = {
    "attach": ("attach", "attach"),
    "detach": ("attach", "detach"),
    "door-certificate": ("door", "lay"),
    "door-request": ("door", "request"),
    "file-get": ("transfer", "get"),
    "file-list": ("transfer", "folder"),
    "file-put": ("transfer", "put"),
    "notify": ("notices", "notify"),
    "probe-start": ("probe", "start"),
    "probe-stop": ("probe", "stop"),
    "status": ("status", "status"),
}


def main() -> int:
    """Carry out the verb in argv and print its answer."""
    started = time.monotonic()
    try:
        answer = _answer(sys.argv[1:], started)
    except (AgentError, ProtocolError) as error:
        return _refuse(getattr(error, "code", "bad-request"), str(error))
    except OSError as error:
        return _refuse("machine-fault", f"{type(error).__name__}: {error}")
    if answer is not None:
        print(answer.to_json(), flush=True)
    return 0


def _answer(arguments: list[str], started: float) -> Message | None:
    """The verb's answer; None where it has given it already, because more had to follow."""
    if len(arguments) != 1 or arguments[0] not in VERBS:
        raise AgentError("bad-verb", f"Usage: beamdesk-agent {'|'.join(VERBS)} < request.json")
    request = VERBS[arguments[0]][0].from_json(sys.stdin.buffer.readline() or b"{}")
    module, function = _HANDLERS[arguments[0]]
    handler = getattr(importlib.import_module(f"agents.machine.{module}"), function)
    answer: Message | None = handler(request, started)
    return answer


def _refuse(code: str, message: str) -> int:
    print(Failure({"code": code, "message": message}).to_json(), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
