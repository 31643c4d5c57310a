"""When an open desktop is closed, by whom, and what its viewer hears; and what does not close it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import create_engine, text

from broker import rfb
from broker.database import now
from broker.gateways.processes import carries
from broker.identity import logout
from broker.identity import service as identity
from broker.identity.models import Identity
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import SessionState, UserSession
from broker.settings import IdentitySettings
from tests.integration.gateways.lab import LEAVES, PASSWORD, Desk, Lab, state
from tests.integration.gateways.wire import Closed
from tests.peers.oidc.minimal import CLIENT, minimal
from tests.servers import private_redis
from tests.waiting import until

CLOSED = (1001, "Beamdesk closed this desktop")


def heard(closed: Closed) -> tuple[int, str]:
    return closed.code, closed.reason


def test_the_end_of_a_session_closes_its_desktops_and_no_others(lab: Lab, desk: Desk) -> None:
    """Every window of the session hears why; another session of the same person goes on."""
    windows, other = [desk().greet(), desk().greet()], lab.desk()
    beside = other().greet()
    service.end(lab.runtime, desk.person, desk.session_id)
    assert [heard(window.end()) for window in windows] == [CLOSED] * 2
    until(lambda: len(desk.rows(open_=False)) == 2, "the rows to be closed")
    assert beside.is_alive()
    assert len(other.rows(open_=True)) == 1
    other.close()


def test_a_desktop_that_closes_late_revives_nothing(lab: Lab, desk: Desk) -> None:
    """What a connection writes after the end of its session leaves the session ended."""
    desk().greet()
    until(lambda: "handshake" in desk.marks(), "the mark of the handshake")
    pid = desk.rows(open_=True)[0].pid
    service.end(lab.runtime, desk.person, desk.session_id)
    until(lambda: not state(pid), "the process to end")
    with lab.runtime.database.reading() as db:
        assert db.get_one(UserSession, desk.session_id).state == SessionState.ENDING


def test_signing_out_closes_what_hangs_on_that_sign_in(lab: Lab, desk: Desk) -> None:
    """The window of the browser that signed out closes; one that another sign-in opened goes on."""
    elsewhere = lab.desk()
    viewer, other = desk().greet(), elsewhere().greet()
    identity.sign_out(lab.runtime, desk.person)
    assert heard(viewer.end()) == CLOSED
    assert other.is_alive()
    elsewhere.close()


def test_signing_out_at_the_provider_closes_the_desktop_at_once(lab: Lab, desk: Desk) -> None:
    """The provider tells us by a logout token; the window is closed within two seconds, another sign-in's is not."""
    elsewhere = lab.desk()
    with minimal() as idp:
        told = {"title": "F", "issuer": idp.issuer, "client_id": CLIENT, "client_secret_env": "NONE"}
        identity_settings = IdentitySettings.model_validate({"providers": {"facility": told}})
        settings = lab.runtime.settings.model_copy(update={"identity": identity_settings})
        with lab.runtime.database.transaction() as db:
            made = Identity(user_id=desk.person.user_id, provider="facility", issuer=idp.issuer, subject="alice")
            db.add(made)
            db.flush()
        desk.set_sign_in(identity_id=made.id, sid="sid-1")
        viewer, other = desk().greet(), elsewhere().greet()
        began = time.monotonic()
        logout.by_provider(Runtime(settings, lab.runtime.database), "facility", idp.logout_token())
        assert heard(viewer.end()) == CLOSED
        assert time.monotonic() - began < 2
    assert other.is_alive()
    elsewhere.close()


def test_a_sign_in_that_expires_closes_its_desktop(desk: Desk) -> None:
    """Nobody stays in for longer than the sign-in lasts."""
    viewer = desk().greet()
    desk.set_sign_in(expires_at=now() - timedelta(seconds=1))
    assert heard(viewer.end()) == CLOSED


def test_a_stalled_viewer_is_closed_all_the_same(lab: Lab, desk: Desk) -> None:
    """One that reads nothing cannot hear the reason, and does not keep its process."""
    viewer = desk().greet()
    for _ in range(20):
        viewer.ask()
    row = desk.rows(open_=True)[0]
    service.end(lab.runtime, desk.person, desk.session_id)
    until(lambda: not carries(row.pid, row.id), "the process to end")
    until(lambda: desk.rows(open_=False), "the row to be closed")


def test_a_process_that_hangs_is_ended_by_force(lab: Lab, desk: Desk) -> None:
    """One that does not hear the friendly signal is killed, so no desktop outlives its session."""
    desk().greet()
    until(lambda: "handshake" in desk.marks(), "it to have no more business with the database")
    row = desk.rows(open_=True)[0]
    os.kill(row.pid, signal.SIGSTOP)
    service.end(lab.runtime, desk.person, desk.session_id)
    until(lambda: desk.rows(open_=False), "the row to be closed")
    assert not carries(row.pid, row.id)


def test_a_desktop_that_goes_away_is_told_apart_from_an_end(lab: Lab) -> None:
    """The machine closed the connection: the viewer hears that it may try again."""
    with _server_that_leaves() as address:
        desk = lab.desk(address=address)
        viewer = desk().greet()
        assert heard(viewer.end()) == (1013, "the desktop closed the connection")


@contextmanager
def _server_that_leaves() -> Iterator[str]:
    """A VNC server that closes the connection at the first thing that is said to it after its greeting."""

    def serve(server: socket.socket) -> None:
        with server.accept()[0] as viewer:
            viewer.sendall(rfb.VERSION)
            rfb.exactly(viewer, 12)
            viewer.sendall(bytes([1, rfb.SECURITY_VNC]))
            rfb.exactly(viewer, 1)
            challenge = os.urandom(16)
            viewer.sendall(challenge)
            assert rfb.exactly(viewer, 16) == rfb.vnc_response(PASSWORD, challenge)
            viewer.sendall(bytes(4))
            rfb.exactly(viewer, 1)
            viewer.sendall(struct.pack(">HH16xI", 800, 600, 3) + b"bye")
            rfb.exactly(viewer, 1)

    with socket.create_server((LEAVES, 5901)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        yield LEAVES
        thread.join(20)


def test_a_database_that_is_away_closes_nothing(own_lab: Callable[..., Lab], postgresql_url: str) -> None:
    """Open desktops go on; who comes meanwhile is told to try again; and after it everything is as it should be."""
    server = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with server.connect() as operator:
        operator.execute(text("CREATE DATABASE gateway"))
        lab = own_lab(database=postgresql_url.replace("/postgres?", "/gateway?"))
        desk = lab.desk()
        viewer, ticket = desk().greet(), desk.ticket()
        operator.execute(text("ALTER DATABASE gateway ALLOW_CONNECTIONS false"))
        operator.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'gateway'"))
        until(lambda: "gateway-watch" in lab.gateway.log.read_text(), "the watcher to miss its database")
        refusal = desk(ticket)
        assert (refusal.status, refusal.problem["code"]) == (503, "service-down")
        assert viewer.is_alive()
        operator.execute(text("ALTER DATABASE gateway ALLOW_CONNECTIONS true"))
        assert desk(ticket).greet().is_alive()
        service.end(lab.runtime, desk.person, desk.session_id)
        assert heard(viewer.end()) == CLOSED
    server.dispose()


def test_redis_is_not_needed_to_open_or_to_keep_a_desktop(own_lab: Callable[..., Lab]) -> None:
    """Redis is a hint: gone for good, desktops open, stay open, and close when they should."""
    with private_redis() as (url, server):
        server.kill()
        desk = own_lab(redis_url=url).desk()
    viewer = desk().greet()
    until(lambda: "handshake" in desk.marks(), "the mark of the handshake")
    assert viewer.is_alive()
    desk.set_session(SessionState.ENDING)
    assert heard(viewer.end()) == CLOSED


def test_a_silent_viewer_is_let_go_and_one_that_only_answers_pings_is_kept(hasty_desk: Desk) -> None:
    """A hidden tab stops its timers, a watcher has nothing to say, and proxies drop what is silent: so the gateway
    pings, and who answers is there. Who does not has lost the network."""
    watching, silent = hasty_desk().greet(), hasty_desk().greet()
    watching.idle(pings=20)  # of which the hasty gateway sends fewer in the time for which one may be silent
    assert watching.is_alive()
    silent.answers_pings = False
    assert heard(silent.end()) == (1001, "the viewer does not answer any more")
    assert silent.pings > 1
    until(lambda: hasty_desk.rows(open_=False), "its row to be closed")
