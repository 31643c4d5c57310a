"""Who gets in, and what everybody else is told: a problem+json answer before any WebSocket opens."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta

import pytest
from sqlalchemy import update

from agents.protocol import VNC_DOOR
from broker.connections.models import Ticket
from broker.database import now
from broker.sessions.models import SessionState, UserSession
from tests.integration.gateways.lab import PORTAL, Desk, Lab
from tests.integration.gateways.wire import Viewer
from tests.waiting import until


def refused(viewer: Viewer, status: int, code: str) -> None:
    """The answer is this problem, with words for a person, and nothing was opened."""
    assert (viewer.status, viewer.problem.get("code")) == (status, code)
    assert viewer.problem["status"] == status
    assert viewer.problem["type"] == f"/docs/errors#{code}"
    assert viewer.problem["title"]
    assert viewer.problem["detail"]
    assert viewer.problem["hint"]


def test_a_ticket_opens_one_connection(desk: Desk) -> None:
    """Used again it is refused, while the first connection goes on."""
    ticket = desk.ticket()
    viewer = desk(ticket).greet()
    refused(desk(ticket), 401, "ticket-refused")
    assert viewer.is_alive()


def test_of_many_who_show_one_ticket_at_once_one_gets_in(desk: Desk) -> None:
    """Two simultaneous requests never make two connections of one ticket."""
    ticket = desk.ticket()
    with ThreadPoolExecutor(8) as threads:
        statuses = sorted(viewer.status for viewer in threads.map(lambda _: desk(ticket), range(8)))
    assert statuses == [101, *[401] * 7]


def test_an_expired_ticket_is_refused(lab: Lab, desk: Desk) -> None:
    """A ticket that lay around for longer than a minute opens nothing."""
    ticket = desk.ticket()
    with lab.runtime.database.transaction() as db:
        db.execute(
            update(Ticket).where(Ticket.session_id == desk.session_id).values(expires_at=now() - timedelta(seconds=1))
        )
    refused(desk(ticket), 401, "ticket-refused")


@pytest.mark.parametrize("ticket", ["unknown", "", "%00", "%F0%9F%94%91", "x" * 5000])
def test_a_made_up_ticket_is_refused(desk: Desk, ticket: str) -> None:
    """Whatever stands where a ticket should."""
    refused(desk(ticket), 401, "ticket-refused")


def test_a_ticket_that_leaked_opens_nothing(lab: Lab, desk: Desk) -> None:
    """In another person's browser it is refused, and stays good for the one whom it was issued to."""
    ticket = desk.ticket()
    bob = lab.desk("bob")
    refused(desk(ticket, headers=bob.headers), 401, "ticket-refused")
    assert desk(ticket).greet().is_alive()


def test_a_ticket_of_an_earlier_sign_in_is_refused(lab: Lab, desk: Desk) -> None:
    """It belongs to the sign-in that it was issued to, not to the person."""
    refused(desk(desk.ticket(), headers=lab.desk().headers), 401, "ticket-refused")


@pytest.mark.parametrize("state", [SessionState.ENDING, SessionState.ENDED, SessionState.FAILED])
def test_a_ticket_of_a_session_that_is_over_is_refused(desk: Desk, state: SessionState) -> None:
    """The ticket was good when it was issued; what counts is the session now."""
    ticket = desk.ticket()
    desk.set_session(state)
    refused(desk(ticket), 409, "session-not-ready")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example:8080",
        "https://localhost:8080",
        "http://localhost:8081",
        "http://127.0.0.2:8080",
        "null",
        "",
        "http://[",
        "http://localhost:port",
    ],
)
def test_another_sites_page_opens_nothing(desk: Desk, origin: str) -> None:
    """Even with the visitor's cookie and a good ticket, which stays good."""
    ticket = desk.ticket()
    refused(desk(ticket, headers={**desk.headers, "Origin": origin}), 403, "wrong-origin")
    assert desk(ticket).status == 101


def test_the_portal_may_be_reached_under_the_gateways_own_address(desk: Desk) -> None:
    """A page of http://127.0.0.1:8080 reaches the gateway on 127.0.0.1, where the settings say localhost."""
    assert desk(headers={**desk.headers, "Origin": "http://127.0.0.1:8080"}).status == 101


def test_who_shows_no_sign_in_is_refused(desk: Desk) -> None:
    """A ticket alone opens nothing, and is not used up."""
    ticket = desk.ticket()
    for headers in ({}, {"Origin": PORTAL}, {"Origin": PORTAL, "Cookie": "beamdesk=made-up"}):
        refused(desk(ticket, headers=headers), 401, "not-signed-in")
    assert desk(ticket).status == 101


def test_a_cookie_without_an_origin_does_not_count(desk: Desk) -> None:
    """Every browser sends an Origin; what sends none is a program, and shows a token."""
    refused(desk(headers={"Cookie": desk.headers["Cookie"]}), 401, "not-signed-in")


def test_a_program_shows_its_token(desk: Desk) -> None:
    """Without an Origin, an Authorization header does what a cookie does in a browser."""
    assert desk(headers={"Authorization": f"Bearer {desk.token}"}).greet().is_alive()


def test_other_cookies_do_not_hide_ours(desk: Desk) -> None:
    """A malformed cookie of another program on the same host is stepped over."""
    cookie = f'broken; a=b=c; "quoted"="x;y; {desk.headers["Cookie"]} ; last'
    assert desk(headers={"Origin": PORTAL, "Cookie": cookie}).status == 101


@pytest.mark.parametrize("gone", ["revoked_at", "expires_at"])
def test_a_sign_in_that_ended_opens_nothing(desk: Desk, gone: str) -> None:
    """Signed out, or for too long signed in."""
    ticket = desk.ticket()
    desk.set_sign_in(**{gone: now() - timedelta(seconds=1)})
    refused(desk(ticket), 401, "not-signed-in")


@pytest.mark.parametrize("path", ["/", "/websockify", "/desktop/../etc/passwd", "/desktop%2f"])
def test_the_gateway_carries_desktops_only(desk: Desk, path: str) -> None:
    """Any other address is not found, and uses no ticket up."""
    ticket = desk.ticket()
    refused(desk(ticket, path=path), 404, "not-found")
    assert desk(ticket).status == 101


def test_a_request_that_opens_no_websocket_is_answered(lab: Lab) -> None:
    """The gateway serves no files; it says so and hangs up."""
    for request, status in (("GET /etc/passwd", b"405"), ("HEAD /", b"405"), ("POST /desktop", b"501")):
        with socket.create_connection(("127.0.0.1", lab.gateway.port), timeout=20) as browser:
            browser.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b""
            while piece := browser.recv(4096):
                answer += piece
        assert answer.split()[1] == status


def test_a_machine_that_is_away_is_a_clear_answer(lab: Lab) -> None:
    """Nothing listens at the machine's address: the user is told what to do."""
    away = lab.desk(address="127.92.0.1")
    refused(away(), 503, "machine-unreachable")
    until(lambda: away.rows(open_=False), "the row to be closed")


def test_a_machine_that_does_not_answer_is_a_clear_answer(hasty_lab: Lab) -> None:
    """Something listens, but says nothing for too long."""
    with socket.create_server(("127.92.0.2", VNC_DOOR)):
        refused(hasty_lab.desk(address="127.92.0.2")(), 503, "machine-unreachable")


def test_a_machine_with_another_password_is_a_clear_answer(lab: Lab, desk: Desk) -> None:
    """The desktop is not what the session thinks it is; the password is not shown to anybody."""
    with lab.runtime.database.transaction() as db:
        db.get_one(UserSession, desk.session_id).password = "another"
    viewer = desk()
    refused(viewer, 502, "rfb-refused")
    assert "another" not in str(viewer.problem)


def test_a_full_gateway_says_so_at_once(own_lab: Callable[..., Lab]) -> None:
    """One session cannot take all places; beyond the last one there is a 503 that says when to come again. Whatever
    becomes of those who ask, those inside stay; and who leaves makes room."""
    lab = own_lab(connections=3, connections_per_session=2)
    desk, bob = lab.desk(), lab.desk("bob")
    inside = [desk().greet(), desk().greet()]
    refused(desk(), 429, "over-quota")
    until(lambda: bob().status == 101, "the place of the one who was refused")
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", lab.gateway.port), timeout=20) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ticket = desk.ticket()
    refusal = desk(ticket)
    assert (refusal.status, refusal.headers["retry-after"]) == (503, "5")
    assert all(map(Viewer.is_alive, inside))
    inside[0].socket.close()
    until(lambda: desk(ticket).status == 101, "room, for the very ticket")
    assert inside[1].is_alive()


def test_hundreds_who_never_say_what_they_want_take_nobodys_place(hasty_lab: Lab, hasty_desk: Desk) -> None:
    """More than the lobby holds, silent, with half a request, and some that go on byte by byte: who has a ticket gets
    in at once, none of them gets a process, memory stays flat, and after a second all are gone."""
    gateway = hasty_lab.gateway
    before, files, memory = gateway.children(), gateway.descriptors(), gateway.memory()
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 20)) for _ in range(400)]
        for number, client in enumerate(slow):
            with suppress(OSError):  # the first ones have gone already
                client.sendall((b"", b"GET /desktop?token=x HTTP/1.1\r\nHost: x\r\n")[number % 2])
        assert hasty_desk().greet().is_alive()
        assert len(gateway.children() - before) <= 2  # its own process, and that of its clerk
        for client in slow[-100:]:
            with suppress(OSError):
                client.sendall(b"X")
        until(lambda: gateway.descriptors() <= files + 2, "their sockets to be closed")
        assert gateway.memory() - memory < 10e6
        assert "did not come in time" in gateway.log.read_text()


def test_someone_who_never_finishes_opening_is_let_go(hasty_lab: Lab, hasty_desk: Desk) -> None:
    """A trickle of header bytes, half a request, silence, and half a handshake hold a process for seconds only."""
    before = hasty_lab.gateway.children()
    viewer = hasty_desk()
    half, trickle, silent = (socket.create_connection(("127.0.0.1", hasty_lab.gateway.port), 30) for _ in range(3))
    half.sendall(b"GET /desktop?token=x HTTP/1.1\r\nHost: x\r\n")
    trickle.sendall(b"GET /desktop HTTP/1.1\r\n")

    def let_go() -> bool:
        try:
            trickle.sendall(b"X: y\r\n")
        except OSError:
            return True
        return False

    until(let_go, "the trickle to be cut", every=0.2)
    with half, trickle, silent:
        assert half.recv(1000) == silent.recv(1000) == b""
    closed = viewer.end()
    assert (closed.code, closed.reason) == (1001, "it took too long to open")
    until(lambda: hasty_desk.rows(open_=False), "the row to be closed")
    until(lambda: hasty_lab.gateway.children() <= before, "their processes to end")
