"""The gateway's greeting is RFB 3.8 without a password, however the viewer's part is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateways.greeting import BadViewer, Greeting

SERVER_INIT = b"800x600 Beamdesk"
SAID = b"RFB 003.008\n\x01\x01"
ANSWERED = b"\x01\x01" + bytes(4) + SERVER_INIT


@given(st.binary(max_size=20), st.lists(st.integers(0, 34), max_size=20))
def test_any_cut_gives_the_same_answers(beyond: bytes, cuts: list[int]) -> None:
    """And what the viewer says beyond its handshake is kept for the machine, byte for byte."""
    greeting, answers, stream, start = Greeting(SERVER_INIT), b"", SAID + beyond, 0
    for stop in (*sorted(cuts), len(stream)):
        answers += greeting.hear(stream[start:stop])
        start = max(start, min(stop, len(stream)))
    assert answers == ANSWERED
    assert greeting.done
    assert greeting.rest == beyond


def test_each_step_is_answered_when_it_is_whole() -> None:
    """Neither side waits for what the other has yet to say."""
    greeting = Greeting(SERVER_INIT)
    assert greeting.opening == b"RFB 003.008\n"
    assert greeting.hear(SAID[:11]) == b""
    assert greeting.hear(SAID[11:12]) == b"\x01\x01"
    assert greeting.hear(SAID[12:13]) == bytes(4)
    assert not greeting.done
    assert greeting.rest == b""
    assert greeting.hear(SAID[13:]) == SERVER_INIT
    assert greeting.done


@given(st.binary(min_size=12, max_size=12).filter(lambda said: said != SAID[:12]))
def test_another_version_is_refused(said: bytes) -> None:
    """Whatever it is; the older ones have another handshake."""
    with pytest.raises(BadViewer, match="speaks RFB"):
        Greeting(SERVER_INIT).hear(said)


@given(st.integers(0, 255).filter(lambda kind: kind != 1))
def test_a_security_type_that_was_not_offered_is_refused(kind: int) -> None:
    """Nobody is let in by a handshake that the gateway did not offer."""
    with pytest.raises(BadViewer, match="not offered"):
        Greeting(SERVER_INIT).hear(SAID[:12] + bytes([kind]))


@pytest.mark.parametrize("shared", [b"\0", b"\1", b"\xff"])
def test_nobody_throws_the_others_out(shared: bytes) -> None:
    """A viewer that asks for the desktop alone gets it like everybody else."""
    greeting = Greeting(SERVER_INIT)
    assert greeting.hear(SAID[:13] + shared) == ANSWERED
