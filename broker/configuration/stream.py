"""Files to and from a machine's agent, by a connection of their own: a kept one carries ten commands at most.

However large a file is, one piece of it is in memory.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import cast

from agents.protocol import Failure, FileAnswer, Message, ProtocolError
from broker.configuration.ssh import AGENT, SshTarget, options
from broker.errors import AgentRefused, MachineUnreachable

PIECE = 256 * 1024
_LONGEST_ANSWER = 64 * 1024


class Stream:
    """One verb of the agent, with bytes on the way; leaving the block ends it, whatever it does then."""

    def __init__(self, state_dir: Path, target: SshTarget, verb: str, request: Message) -> None:
        self._target, self._verb = target, verb
        command = shlex.join([AGENT, verb])
        line = ["ssh", *options(state_dir, target), f"root@{target.address}", "--", command]
        self._process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._say(request.to_json().encode() + b"\n")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it; the agent finds that its input is over."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        self._end_input()

    def answer(self) -> FileAnswer:
        """What the agent says; AgentRefused with its code as `reason` where it says no."""
        said = self._output.readline(_LONGEST_ANSWER)
        with suppress(ProtocolError):
            return FileAnswer.from_json(said)
        try:
            failure = Failure.from_json(said).error
        except ProtocolError:
            raise self._broke_off() from None
        raise AgentRefused(failure.get("message", ""), reason=failure.get("code", ""))

    def send(self, body: Iterable[bytes]) -> None:
        """Hand it all over. An agent that has refused takes no more, and the rest is read and dropped: a browser
        hears no answer while it still sends."""
        taken = True
        for piece in body:
            taken = taken and self._say(piece)
        self._end_input()

    def received(self, size: int) -> Iterator[bytes]:
        """So many bytes that follow the answer, or MachineUnreachable where there are fewer."""
        left = size
        while left:
            piece = self._output.read1(min(left, PIECE))
            if not piece:
                raise self._broke_off()
            left -= len(piece)
            yield piece

    @property
    def _output(self) -> BufferedReader:
        return cast(BufferedReader, self._process.stdout)

    def _say(self, piece: bytes) -> bool:
        """Whether it was taken."""
        entry = cast(BufferedWriter, self._process.stdin)
        try:
            entry.write(piece)
            entry.flush()
        except OSError:
            return False
        return True

    def _end_input(self) -> None:
        with suppress(OSError):  # what is left in its buffer goes nowhere
            cast(BufferedWriter, self._process.stdin).close()

    def _broke_off(self) -> MachineUnreachable:
        hint = "Try again; if it stays so, launch another session."
        return MachineUnreachable(f"Machine {self._target.name} broke off.", hint=hint)
