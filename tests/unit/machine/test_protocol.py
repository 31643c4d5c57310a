"""The messages between broker and agent: what is sent comes back the same, and what is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.protocol import (
    VERBS,
    AttachRequest,
    DoorCertificate,
    Failure,
    Nothing,
    NotifyRequest,
    ProbeAnswer,
    ProtocolError,
)

GOOD: dict[str, Any] = {
    "session": "42",
    "user": "alice",
    "uid": 20001,
    "full_name": "Alice Müller-O'Hara",
    "password": "a-Secret_1234567",
    "home": "/home/alice",
    "geometry": "1600x900",
    "lease_ends": "2027-01-01T12:00:00+00:00",
    "principals": ["session-42"],
}


def refusal(**changed: Any) -> str:
    with pytest.raises(ProtocolError) as caught:
        AttachRequest.from_dict({**GOOD, **changed})
    return str(caught.value)


def test_a_message_comes_back_as_it_was_sent() -> None:
    request = AttachRequest.from_dict(GOOD)
    assert AttachRequest.from_json(request.to_json()) == request
    assert request.principals == ("session-42",)


@given(st.text(min_size=1, max_size=200), st.text(max_size=2000), st.sampled_from(["normal", "critical"]))
def test_any_notice_survives_the_way(title: str, text: str, urgency: str) -> None:
    try:
        notice = NotifyRequest(title, text, urgency)
    except ProtocolError:
        assert "\0" in title + text
    else:
        assert NotifyRequest.from_json(notice.to_json()) == notice


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session", "../42"),
        ("session", ""),
        ("user", "Alice"),
        ("user", "root;reboot"),
        ("user", "-x"),
        ("user", "a" * 32),
        ("uid", 0),
        ("uid", 999),
        ("uid", True),
        ("uid", "20001"),
        ("full_name", "Alice\nroot:x:0"),
        ("password", "short"),
        ("password", "with space and more"),
        ("password", "12345678\n"),
        ("home", "home/alice"),
        ("home", "/home/../etc"),
        ("home", "/"),
        ("geometry", "1600"),
        ("geometry", "0x0"),
        ("geometry", "1600x900 -inetd"),
        ("lease_ends", "tomorrow"),
        ("lease_ends", "2027-01-01T12:00:00"),
        ("principals", []),
        ("principals", ["session-42\nroot"]),
        ("principals", "session-42"),
        ("principals", [42]),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(field: str, value: Any) -> None:
    assert f"AttachRequest.{field} " in refusal(**{field: value})


def test_a_refusal_never_shows_the_password() -> None:
    assert "pass word" not in refusal(password="pass word")


def test_a_missing_and_an_unknown_field_are_named() -> None:
    with pytest.raises(ProtocolError, match=r"AttachRequest\.home is missing"):
        AttachRequest.from_dict({name: value for name, value in GOOD.items() if name != "home"})
    assert "AttachRequest.favourite is no field of it" in refusal(favourite="/bin/sh")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "null", b"\xff"])
def test_what_is_no_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        Nothing.from_json(text)


def test_numbers_of_answers_may_be_whole() -> None:
    answer = ProbeAnswer.from_json('{"vnc_port": 5902, "clock": 1, "home_writable": true, "timings": {"paint_ms": 3}}')
    assert answer.clock == 1


def test_a_failure_is_what_the_contract_says() -> None:
    assert json.loads(Failure({"code": "a", "message": "b"}).to_json()) == {"error": {"code": "a", "message": "b"}}


def test_every_verb_has_messages_that_can_be_read() -> None:
    others = {"door-certificate", "door-request", "file-get", "file-list", "file-put", "probe-start", "probe-stop"}
    assert set(VERBS) == {"attach", "detach", "notify", "status"} | others
    for messages in VERBS.values():
        for message in messages:
            with pytest.raises(ProtocolError):
                message.from_json('{"unknown": 1}')


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n", "\n[vnc]\n"])
def test_what_is_no_certificate_is_not_laid(text: str) -> None:
    good = "-----BEGIN CERTIFICATE-----\nMIIB\nAA==\n-----END CERTIFICATE-----\n"
    assert DoorCertificate(good, good * 3)
    for certificate, authorities in ((text, good), (good, text), (good + text + "x", good), (good, good * 9)):
        with pytest.raises(ProtocolError, match="PEM certificates"):
            DoorCertificate(certificate, authorities)
