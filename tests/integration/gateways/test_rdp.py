"""The RDP gateway: who gets to a machine, what everybody else is told, and when an open desktop is closed."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from agents.machine.seat import RDP_PORT_WITHOUT_CLIPBOARD
from broker.configuration import desktop_ca
from broker.connections.models import Ticket, Way
from broker.database import now
from broker.gateways import office
from broker.gateways.processes import carries
from broker.identity import service as identity
from broker.identity.models import User
from broker.sessions import service
from broker.sessions.models import SessionState
from tests.certificates import Identity, authority
from tests.doors import trust
from tests.integration.gateways.lab import PASSWORD, Lab
from tests.integration.gateways.rdp_lab import HASTY, RDP, RdpDesk, ticket_of
from tests.integration.gateways.rdp_peers import (
    CHOSEN,
    NEIGHBOUR,
    REFUSED,
    TLS,
    TLS_OR_CREDSSP,
    Client,
    Machine,
    first_packet,
    machine,
    packet,
)
from tests.integration.gateways.receivers import handed_over
from tests.waiting import until

ALWAYS = 4  # processes: the one that listens, the watcher, the office, and the one that makes desktops'
JOINED, NO, NO_WITHOUT_TLS = (CHOSEN, TLS), (REFUSED, 4), (REFUSED, 1)


@pytest.fixture(scope="module")
def rdp_lab(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Lab]:
    """The gateway that most of these tests share."""
    with closing(Lab(tmp_path_factory.mktemp("rdp"), redis_url, command=RDP, section="rdp")) as made:
        yield made


@pytest.fixture(scope="module")
def hasty_rdp(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Lab]:
    """A gateway that waits for seconds."""
    command = [sys.executable, "-c", HASTY]
    folder = tmp_path_factory.mktemp("hasty-rdp")
    with closing(Lab(folder, redis_url, command=command, section="rdp", connections_per_address=1000)) as made:
        yield made


@pytest.fixture(name="machine")
def one_machine() -> Iterator[Machine]:
    """The machine of the sessions."""
    with machine() as made:
        yield made


@pytest.fixture
def desk(rdp_lab: Lab) -> Iterator[RdpDesk]:
    """Alice's ready session."""
    with closing(RdpDesk(rdp_lab)) as made:
        yield made


def test_a_file_opens_one_connection(desk: RdpDesk, machine: Machine) -> None:
    """Used again it is refused before any byte reaches the machine, while the first connection goes on."""
    ticket = desk.ticket()
    client = desk(ticket)
    assert client.chosen == JOINED
    assert desk(ticket).chosen == NO
    assert client.echoes(os.urandom(100_000))
    assert machine.visits == 1


def test_the_machine_hears_no_ticket_and_the_clients_very_wish(desk: RdpDesk, machine: Machine) -> None:
    """Of the two who could know the ticket it is the gateway's; the wish is what the client later compares."""
    assert desk(protocols=TLS_OR_CREDSSP).chosen == JOINED
    assert machine.heard == [packet(0xE0, struct.pack("<BBHI", 1, 0, 8, TLS_OR_CREDSSP))]


def test_of_many_who_open_one_file_at_once_one_gets_in(desk: RdpDesk, machine: Machine) -> None:
    ticket = desk.ticket()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: desk(ticket).chosen, range(8)))
    assert sorted(answers, key=str) == [JOINED, *[NO] * 7]
    assert machine.visits == 1


def expire(desk: RdpDesk) -> None:
    with desk.lab.runtime.database.transaction() as db:
        db.execute(update(Ticket).values(expires_at=now() - timedelta(seconds=1)))


WRONGS: dict[str, Callable[[RdpDesk], object]] = {
    "it expired": expire,
    "its session is ending": lambda desk: desk.end_session(),
    "its session failed": lambda desk: desk.set_session(SessionState.FAILED),
    "its sign-in ended": lambda desk: identity.sign_out(desk.lab.runtime, desk.person),
    "its sign-in expired": lambda desk: desk.set_sign_in(expires_at=now() - timedelta(seconds=1)),
}


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_ticket_is_refused_when(wrong: str, desk: RdpDesk, machine: Machine) -> None:
    """It was good when it was downloaded; no byte reaches the machine."""
    ticket = desk.ticket()
    WRONGS[wrong](desk)
    assert desk(ticket).chosen == NO
    assert machine.visits == 0
    assert not desk.rows(open_=True)


def test_a_made_up_ticket_and_the_browsers_are_refused(desk: RdpDesk, machine: Machine) -> None:
    """A ticket opens its own door only."""
    browsers = service.ticket(desk.lab.runtime, desk.person, desk.session_id)
    for ticket in ("made-up-made-up-made-up", "x" * 128, browsers):
        assert desk(ticket).chosen == NO
    assert machine.visits == 0
    until(lambda: "This ticket is unknown" in desk.lab.gateway.log.read_text(), "the log to say why")


def test_a_ticket_leads_to_its_own_machine_and_to_no_neighbour(rdp_lab: Lab, desk: RdpDesk, machine: Machine) -> None:
    """Two sessions side by side, each with its own file."""
    with machine_of_bob() as neighbour, closing(RdpDesk(rdp_lab, "bob", NEIGHBOUR)) as bob:
        assert desk().chosen == JOINED
        assert (machine.visits, neighbour.visits) == (1, 0)
        assert bob().chosen == JOINED
        assert (machine.visits, neighbour.visits) == (1, 1)


def test_todays_policy_chooses_the_machines_server(rdp_lab: Lab, desk: RdpDesk, machine: Machine) -> None:
    """Of a file that was downloaded before, too: the one without a clipboard where it is held back in a direction."""

    def alice_in(*groups: str) -> None:
        with rdp_lab.runtime.database.transaction() as db:
            db.execute(update(User).where(User.name == "alice").values(groups=list(groups)))

    ticket = desk.ticket()
    assert "redirectclipboard:i:1" in desk.file()
    try:
        for group in ("nothing-out", "nothing-in"):
            alice_in(group)
            assert "redirectclipboard:i:0" in desk.file()
            with one_machine_more() as held:
                assert desk(ticket).chosen == JOINED
                assert (held.visits, machine.visits) == (1, 0)
            ticket = desk.ticket()
    finally:
        alice_in()
    assert desk(ticket).chosen == JOINED
    assert machine.visits == 1


@contextmanager
def one_machine_more() -> Iterator[Machine]:
    with machine(port=RDP_PORT_WITHOUT_CLIPBOARD) as made:
        yield made


@contextmanager
def machine_of_bob() -> Iterator[Machine]:
    with machine(address=NEIGHBOUR) as made:
        yield made


def test_who_does_not_offer_tls_may_come_again_with_the_same_file(desk: RdpDesk, machine: Machine) -> None:
    """Some clients try without at first."""
    ticket = desk.ticket()
    assert desk(ticket, protocols=0).chosen == NO_WITHOUT_TLS
    assert machine.visits == 0
    assert desk(ticket).chosen == JOINED


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x03\x00\xff\xff" + bytes(60_000),
    b"\x03\x00\x00\x04",
    os.urandom(5000),
    first_packet("x" * 32) * 2,
]


@pytest.mark.parametrize("first", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_hung_up_on_at_once(desk: RdpDesk, machine: Machine, first: bytes) -> None:
    """Without a process for it; and the gateway goes on."""
    assert desk.say(first).chosen is None
    assert desk().chosen == JOINED
    assert machine.visits == 1


def test_a_first_packet_may_come_in_pieces(desk: RdpDesk, machine: Machine) -> None:
    """As a network may cut it."""
    data = first_packet(desk.ticket())
    client = desk.say(data[:1])
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for place in range(1, len(data)):
        client.socket.sendall(data[place : place + 1])
    assert client.chosen == JOINED
    assert client.echoes()


def test_the_slow_and_the_silent_take_nobodys_place(hasty_rdp: Lab, machine: Machine) -> None:
    """More of them than the lobby holds, from one address, each with half a packet, and some that go on for ever, byte
    by byte: who has a ticket gets in without waiting for them, none of them gets a process, and soon all are gone."""
    with closing(RdpDesk(hasty_rdp)) as desk, ExitStack() as stack:
        before = hasty_rdp.gateway.descriptors()
        slow = [desk.say(first_packet("x" * 32)[:20]) for _ in range(300)]
        trickle = desk.say(b"")
        stack.enter_context(trickle.socket)
        assert desk().chosen == JOINED
        assert hasty_rdp.gateway.processes() == ALWAYS + 1
        assert trickles(trickle) < 5
        assert all(client.is_closed() for client in slow)
        until(lambda: hasty_rdp.gateway.descriptors() == before + 1, "all but the desktop's to be closed")
        assert "did not come in time" in hasty_rdp.gateway.log.read_text()


def trickles(client: Client) -> float:
    """For how many seconds a byte now and then keeps the connection."""
    began = time.monotonic()
    for byte in first_packet("y" * 100):
        try:
            client.socket.sendall(bytes([byte]))
        except OSError:
            break
        time.sleep(0.2)  # slow, as it is meant to be
    return time.monotonic() - began


def test_one_address_cannot_take_all_places(own_rdp: Callable[..., Lab], machine: Machine) -> None:
    """Neither with desktops nor with silence; others come in meanwhile, and who leaves makes room."""
    lab = own_rdp(connections_per_address=3)
    with closing(RdpDesk(lab)) as desk:
        inside, ticket = [desk(), desk()], desk.ticket()
        assert [client.chosen for client in inside] == [JOINED] * 2
        silent = desk.say(b"\x03")
        until(lambda: desk(ticket).chosen is None, "the address to be full")
        with socket.create_connection(("127.0.0.1", lab.gateway.port), 20, ("127.0.0.9", 0)) as other:
            other.sendall(first_packet(desk.ticket()))
            assert other.recv(19)
        silent.socket.close()
        until(lambda: desk(ticket).chosen == JOINED, "room, for the very ticket")
        assert "its address has too many connections" in lab.gateway.log.read_text()


def test_a_full_gateway_and_a_full_session_refuse_and_the_file_stays_good(
    own_rdp: Callable[..., Lab], machine: Machine
) -> None:
    lab = own_rdp(connections=2, connections_per_session=1)
    with closing(RdpDesk(lab)) as desk, closing(RdpDesk(lab, "bob")) as bob:
        first, ticket = desk(), desk.ticket()
        assert first.chosen == JOINED
        assert desk(ticket).chosen == NO
        until(lambda: bob().chosen == JOINED, "the place of the one who was refused")
        assert desk(ticket).chosen == NO
        assert "rdp.full" in lab.gateway.log.read_text()
        first.socket.close()
        until(lambda: desk(ticket).chosen == JOINED, "room, for the very ticket")


def test_a_machine_that_is_away_silent_or_would_not_encrypt_is_refused(hasty_rdp: Lab) -> None:
    """The client is told, and the row is closed."""
    answers = {"away": None, "silent": b"", "unencrypted": packet(0xD0, b""), "strange": b"SSH-2.0-x\r\n"}
    for name, answer in answers.items():
        with closing(RdpDesk(hasty_rdp)) as desk, ExitStack() as stack:
            if answer is not None:
                stack.enter_context(machine(answer))
            assert desk().chosen == NO, name
            until(lambda desk=desk: desk.rows(open_=False) and not desk.rows(open_=True), "the row to be closed")


def test_an_rdp_server_that_comes_up_a_moment_later_is_waited_for(desk: RdpDesk) -> None:
    """The desktop is ready a moment before it."""
    client = desk()
    until(lambda: desk.rows(open_=True), "the ticket to be redeemed")
    with machine():
        assert client.chosen == JOINED
        assert client.echoes()


def test_the_end_of_a_session_closes_its_desktops_and_no_others(rdp_lab: Lab, desk: RdpDesk, machine: Machine) -> None:
    with closing(RdpDesk(rdp_lab)) as other:
        clients, beside = [desk(), desk()], other()
        assert [client.chosen for client in (*clients, beside)] == [JOINED] * 3
        desk.end_session()
        assert all(client.is_closed() for client in clients)
        until(lambda: len(desk.rows(open_=False)) == 2, "the rows to be closed")
        assert {row.way for row in desk.rows(open_=False)} == {Way.RDP}
        assert beside.echoes()
        until(lambda: "Beamdesk closed this desktop" in rdp_lab.gateway.log.read_text(), "the log to say why")


def test_signing_out_closes_what_was_opened_with_that_sign_ins_file(desk: RdpDesk, machine: Machine) -> None:
    client = desk()
    assert client.chosen == JOINED
    identity.sign_out(desk.lab.runtime, desk.person)
    assert client.is_closed()


def test_a_desktop_that_is_handed_over_closes_and_opens_by_the_receivers_file_alone(
    desk: RdpDesk, machine: Machine
) -> None:
    """The giver's file from before is worth nothing; the receiver's names the account that is on the machine."""
    client, before = desk(), desk.ticket()
    assert client.chosen == JOINED
    receiver = handed_over(desk, "bob")
    assert client.is_closed()
    assert desk(before).chosen == NO
    assert "username:s:alice\x1f" in receiver.file()
    assert receiver().chosen == JOINED


def test_a_process_that_hangs_is_ended_by_force(desk: RdpDesk, machine: Machine) -> None:
    assert desk().chosen == JOINED
    row = desk.rows(open_=True)[0]
    os.kill(row.pid, signal.SIGSTOP)
    desk.end_session()
    until(lambda: desk.rows(open_=False), "the row to be closed")
    assert not carries(row.pid, row.id)


@pytest.mark.parametrize("who", ["the client", "the machine"])
def test_whoever_leaves_ends_the_process_and_its_row(rdp_lab: Lab, who: str) -> None:
    with machine() as there, closing(RdpDesk(rdp_lab)) as desk:
        client = desk()
        assert client.chosen == JOINED
        if who == "the client":
            client.socket.close()
        else:
            there.hang_up()
            assert client.is_closed()
        until(lambda: desk.rows(open_=False), "the row to be closed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_open_desktops_outlive_their_gateway_and_the_next_one_watches_them(
    own_rdp: Callable[..., Lab], machine: Machine, number: signal.Signals
) -> None:
    lab = own_rdp()
    with closing(RdpDesk(lab)) as desk:
        old, silent = desk(), desk.say(b"\x03")
        assert old.chosen == JOINED
        lab.gateway.end(number)
        assert silent.is_closed()
        assert old.echoes()
        lab.gateway.start_again()
        new = desk()
        assert new.chosen == JOINED
        assert old.echoes()
        desk.end_session()
        assert old.is_closed()
        assert new.is_closed()
    until(lambda: lab.gateway.processes() == ALWAYS, "the desktops' processes to end")


def test_of_its_other_processes_any_may_die(rdp_lab: Lab, desk: RdpDesk, machine: Machine) -> None:
    """Open desktops go on, files open others, and all of them are closed in time."""
    old, ticket = desk(), desk.ticket()
    assert old.chosen == JOINED
    for pid in rdp_lab.gateway.children():
        os.kill(pid, signal.SIGKILL)
    new = until(lambda: (made := desk(ticket)).chosen == JOINED and made, "others in their place")
    assert old.echoes()
    assert rdp_lab.gateway.processes() == ALWAYS + 2
    desk.end_session()
    assert old.is_closed()
    assert new.is_closed()


def test_who_dies_on_the_way_in_leaves_the_ticket_good(desk: RdpDesk, machine: Machine) -> None:
    """The ticket is used up together with the row that names the process, or not at all."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ticket = desk.ticket()
    with ours:
        ours.send(b"1")
        ours.shutdown(socket.SHUT_WR)
        office.serve(desk.lab.runtime, theirs, ticket, "127.0.0.1")
        assert b"connection" in ours.recv(1000)
    assert not desk.rows(open_=True)
    assert desk(ticket).chosen == JOINED


def test_what_is_shown_to_doors_is_what_counts_now(rdp_lab: Lab, desk: RdpDesk, machine: Machine) -> None:
    """While the gateway runs and desktops are open. The machine of these tests believes the first authority alone."""
    secrets, stays = rdp_lab.folder / "secrets", desk()
    assert stays.chosen == JOINED
    try:
        desktop_ca.begin(secrets)
        desktop_ca.switch(secrets)
        assert desk().chosen == NO
    finally:
        desktop_ca.forget(secrets)
        trust(rdp_lab.folder)
    assert desk().chosen == JOINED
    assert stays.echoes()


def test_a_gateway_that_drains_ends_with_its_last_desktop(own_rdp: Callable[..., Lab], machine: Machine) -> None:
    """Who has not shown a ticket by then is sent away."""
    lab = own_rdp(drain_seconds=60)
    with closing(RdpDesk(lab)) as desk:
        client, silent = desk(), desk.say(b"\x03")
        assert client.chosen == JOINED
        lab.gateway.process.send_signal(signal.SIGTERM)
        assert silent.is_closed()
        assert client.echoes()
        client.socket.close()
        assert lab.gateway.process.wait(20) == 0
    until(lambda: not lab.gateway.processes(), "its other processes to end with it")


@pytest.fixture(scope="module")
def facility(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], ssl.SSLContext]:
    """An authority's certificate, the settings of a gateway with a certificate of it, and a machine's own TLS."""
    folder, root = tmp_path_factory.mktemp("certificates"), authority()
    chain, key = root.vouch_for("localhost").write(folder)
    own: Identity = authority()
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "machine").mkdir()
    there.load_cert_chain(*own.write(folder / "machine"))
    return root.write(folder)[0], {"tls": "gateway", "certificate": str(chain), "key": str(key)}, there


Facility = tuple[Path, dict[str, str], ssl.SSLContext]


def tpkt(text: str) -> bytes:
    """A packet as clients say who they are in one."""
    body = text.encode("utf-16-le")
    return struct.pack(">BBH", 3, 0, 4 + len(body)) + body


def test_tls_may_end_at_the_gateway_and_goes_on_to_the_machine(own_rdp: Callable[..., Lab], facility: Facility) -> None:
    """The client sees the gateway's certificate, and verifies it; what it says reaches the machine, in TLS again. The
    desktop's password is not in the file: the gateway puts it in the place of what stands there."""
    root, settings, own = facility
    with machine(tls=own), closing(RdpDesk(own_rdp(**settings))) as desk:
        text = desk.file()
        assert PASSWORD not in text
        client = desk(ticket_of(text), protocols=TLS_OR_CREDSSP)
        assert client.chosen == JOINED
        client.socket = ssl.create_default_context(cafile=root).wrap_socket(client.socket, server_hostname="localhost")
        assert client.echoes(tpkt("through both"))
        word = text.partition("\x1f")[2].partition("\r\n")[0]
        client.socket.sendall(tpkt(word))
        assert client.socket.recv(100) == tpkt(PASSWORD)
        desk.end_session()
        assert client.is_closed()


def test_a_machine_that_wants_more_than_tls_is_refused_where_tls_ends_at_the_gateway(
    own_rdp: Callable[..., Lab], facility: Facility
) -> None:
    """CredSSP is bound to the machine's own TLS. Passed through, it is the client's and the machine's business."""
    credssp = packet(0xD0, struct.pack("<BBHI", CHOSEN, 0, 8, 2))
    with machine(credssp), closing(RdpDesk(own_rdp(**facility[1]))) as desk:
        assert desk(protocols=TLS_OR_CREDSSP).chosen == NO
    with machine(credssp), closing(RdpDesk(own_rdp())) as desk:
        assert desk(protocols=TLS_OR_CREDSSP).chosen == (CHOSEN, 2)


def test_a_certificate_that_cannot_be_used_is_named_at_the_start(tmp_path: Path, facility: Facility) -> None:
    """A file that is not there, and one that is no certificate."""
    (tmp_path / "empty.pem").write_text("")
    config = tmp_path / "beamdesk.toml"
    config.write_text(f'state_dir = "{tmp_path}"\n')
    for name in ("nowhere.pem", "empty.pem"):
        values = {"TLS": "gateway", "CERTIFICATE": str(tmp_path / name), "KEY": facility[1]["key"]}
        own = {"BEAMDESK_CONFIG": str(config), **{f"BEAMDESK_RDP__{key}": value for key, value in values.items()}}
        done = subprocess.run(RDP, env={**os.environ, **own}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert name in done.stderr
        assert "Traceback" not in done.stderr
        assert "PEM" in done.stderr


def test_a_file_is_signed_where_the_settings_say_so(own_rdp: Callable[..., Lab], facility: Facility) -> None:
    """And opens the desktop as any other."""
    signing = {"signing_certificate": facility[1]["certificate"], "signing_key": facility[1]["key"]}
    with machine(), closing(RdpDesk(own_rdp(**signing))) as desk:
        text = desk.file()
        assert "\r\nsignature:s:" in text
        assert desk(ticket_of(text)).chosen == JOINED
