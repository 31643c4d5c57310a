"""A machine's doors: who has no gateway's certificate gets not one byte of VNC or RDP, from wherever; who has, does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from agents.protocol import RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, SOUND_DOOR, VNC_DOOR
from broker import rfb
from broker.configuration import desktop_ca, doors
from broker.configuration.keyring import Step
from broker.database import Base
from broker.pools import jobs, renewal
from broker.pools.models import Machine, MachineState
from broker.rotation import steps
from broker.runtime import Runtime, open_runtime
from broker.settings import Settings
from tests.conftest import SETTINGS
from tests.doors import GATEWAY, MACHINE, signed
from tests.integration.gateways.rdp_peers import first_packet
from tests.integration.machine.desk import PASSWORD, USER, Desk
from tests.screens import colours
from tests.waiting import until

OURS = ["beamdesk-gateway"]
LATER = timedelta(days=1)


@pytest.fixture(scope="module")
def desk(light: Desk) -> Desk:
    """The machine with its session attached."""
    light.attach()
    until(lambda: light.root("ss -Htln sport = :3389"), "the RDP server", 15)
    return light


@pytest.fixture(scope="module", autouse=True)
def _silent(desk: Desk) -> Iterator[list[socket.socket]]:
    """Many who knock at the doors and say nothing, while all tests here go on; in the end they are let go."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection((desk.target.address, door), 20))
            for door in (VNC_DOOR, RDP_DOOR)
            for _ in range(100)
        ]
        yield made
        assert {heard(each) for each in made} == {b""}


def heard(connection: socket.socket) -> bytes:
    """What comes, or nothing where the connection is closed."""
    with suppress(ConnectionError):
        return connection.recv(100)
    return b""


def certificates(secrets: Path, folder: Path) -> dict[str, tuple[str, str] | None]:
    """What somebody may show at a door, as a key and a certificate: none of it is a gateway's that is in force."""
    desktop_ca.trusted(folder)
    return {
        "nothing": None,
        "another authority's": signed(folder, OURS, GATEWAY),
        "a machine's": signed(secrets, ["light-9"], MACHINE),
        "a machine's that calls itself a gateway": signed(secrets, OURS, MACHINE),
        "somebody else's": signed(secrets, ["another-gateway"], GATEWAY),
        "one that has ended": signed(secrets, OURS, GATEWAY, begins=-LATER, ends=timedelta(seconds=-5)),
        "one that has not begun": signed(secrets, OURS, GATEWAY, begins=timedelta(hours=1), ends=LATER),
    }


def context(folder: Path, shown: tuple[str, str] | None) -> ssl.SSLContext:
    """A client that believes anybody, and shows this."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if shown:
        (folder / "shown.pem").write_text("".join(shown))
        made.load_cert_chain(folder / "shown.pem")
    return made


def answer(desk: Desk, door: int, made: ssl.SSLContext) -> bytes:
    """What is heard behind this door, by a client that greets as VNC's and RDP's do."""
    connection = socket.create_connection((desk.target.address, door), 20)
    with connection, suppress(ssl.SSLError, ConnectionResetError), made.wrap_socket(connection) as through:
        if door == RDP_DOOR:
            through.sendall(first_packet("x" * 32))
        return heard(through)
    return b""


def test_none_but_a_gateways_certificate_in_force_opens_a_door(desk: Desk, tmp_path: Path) -> None:
    secrets = desk.state_dir / "secrets"
    good = context(tmp_path, signed(secrets, OURS, GATEWAY))
    assert answer(desk, VNC_DOOR, good) == rfb.VERSION
    assert answer(desk, RDP_DOOR, good)[:1] == b"\3"
    assert answer(desk, SOUND_DOOR, good)[:4] == b"OggS"
    for what, shown in certificates(secrets, tmp_path / "foreign").items():
        made = context(tmp_path, shown)
        assert {answer(desk, door, made) for door in (VNC_DOOR, RDP_DOOR, SOUND_DOOR)} == {b""}, what
    good.maximum_version = ssl.TLSVersion.TLSv1_2
    assert answer(desk, VNC_DOOR, good) == b"", "an older TLS"


def test_what_is_no_tls_is_hung_up_on(desk: Desk) -> None:
    for said in (rfb.VERSION, first_packet("x" * 32), b"GET / HTTP/1.1\r\n\r\n", bytes(5000)):
        for door in (VNC_DOOR, RDP_DOOR, SOUND_DOOR):
            with socket.create_connection((desk.target.address, door), 20) as rude:
                rude.sendall(said)
                assert heard(rude)[:1] in (b"", b"\x15"), "more than an alert of TLS"


def test_the_servers_behind_the_doors_cannot_be_reached_from_outside(desk: Desk) -> None:
    for port in (5901, 3389, 3390, 3350):
        with pytest.raises((ConnectionError, TimeoutError)):
            socket.create_connection((desk.target.address, port), 0.3)
    outside = desk.root("ss -Htln | awk '{print $4}' | grep -v -e '^127.0.0.1:' -e '^\\[::1\\]:'").split()
    assert {int(address.rpartition(":")[2]) for address in outside} == {
        22,
        VNC_DOOR,
        RDP_DOOR,
        RDP_DOOR_WITHOUT_CLIPBOARD,
        SOUND_DOOR,
    }


def test_the_gateway_believes_no_machine_of_another_name(desk: Desk) -> None:
    """As where a neighbour has taken the machine's address: nothing is said to it, no password above all."""
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        doors.reach(desk.state_dir, "light-9", desk.target.address, VNC_DOOR, timeout=5)


def test_no_account_of_the_machine_reads_the_doors_key(desk: Desk) -> None:
    for account in (USER, "beamdesk-probe", "xrdp", "nobody"):
        assert desk.root(f"setpriv --reuid={account} --clear-groups cat /etc/beamdesk/door/key.pem 2> /dev/null") == ""
    as_owner = "setpriv --reuid=beamdesk-door --regid=beamdesk-door --clear-groups"
    assert "PRIVATE KEY" in desk.root(f"{as_owner} cat /etc/beamdesk/door/key.pem")
    assert desk.root("stat -c %a:%U /etc/beamdesk/door/key.pem") == "400:beamdesk-door\n"
    desk.root(f"setpriv --reuid={USER} --clear-groups pkill -KILL -u beamdesk-door")
    assert colours(desk.frame()) > 500


def test_a_renewed_certificate_is_shown_at_once_and_cuts_nobody_off(desk: Desk) -> None:
    with desk.viewer() as viewer:
        rfb.sign_in(viewer, PASSWORD)
        rfb.initialise(viewer)
        before, key = viewer.getpeercert(binary_form=True), desk.root("cat /etc/beamdesk/door/key.pem")
        doors.lay(desk.state_dir, desk.target)
        until(lambda: shown(desk) != before, "the renewed certificate", 10)
        viewer.sendall(b"\x03\x00" + bytes(4) + b"\x00\x10\x00\x10")
        assert rfb.exactly(viewer, 1) == b"\x00"
    assert desk.root("cat /etc/beamdesk/door/key.pem") == key


@pytest.fixture
def runtime(desk: Desk, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A deployment that has given the machine to a session, as one that was told nothing yet."""
    config = tmp_path / "beamdesk.toml"
    parts = (f'state_dir = "{desk.state_dir}"', SETTINGS, "[database]", f'url = "sqlite:///{tmp_path}/rows"')
    config.write_text("\n".join((*parts, "[redis]", f'url = "{redis_url}"')))
    monkeypatch.setenv("BEAMDESK_CONFIG", str(config))
    opened = open_runtime(Settings())
    Base.metadata.create_all(opened.database.engine)
    monkeypatch.setattr(jobs, "current", lambda: opened)
    with opened.database.transaction() as db:
        where = {"address": desk.target.address, "host_key": desk.target.host_key}
        kind = {"pool": "light-ral", "environment": "light", "size": "small", "cloud": "ral"}
        db.add(Machine(id=1, **kind, **where, state=MachineState.ACQUIRED, attempt=0))
    yield opened
    opened.database.close()
    doors.lay(desk.state_dir, desk.target)


def tended(runtime: Runtime) -> int:
    """How many machines were told something, as the manager and a worker do it."""
    with runtime.database.reading() as db:
        found = db.execute(select(Machine.id, Machine.attempt).where(*renewal.wanting(runtime.settings.secrets_dir)))
        due = list(found)
    for id_, attempt in due:
        jobs.renew_machine(id_, attempt)
    return len(due)


def test_the_authority_is_replaced_while_a_desktop_is_open(desk: Desk, runtime: Runtime, tmp_path: Path) -> None:
    """By `beamdesk keys rotate desktop_ca`: the machine is told of each step once; who looks on looks on, and others
    come in all the time. In the end what the old authority signed opens nothing."""
    assert (tended(runtime), tended(runtime)) == (1, 0)
    stale = context(tmp_path, signed(desk.state_dir / "secrets", OURS, GATEWAY))
    until(lambda: answer(desk, VNC_DOOR, stale) == rfb.VERSION, "the door, which has just been told", 5)
    with doors.reach(desk.state_dir, "light-1", desk.target.address, VNC_DOOR, timeout=20) as viewer:
        rfb.sign_in(viewer, PASSWORD)
        rfb.initialise(viewer)
        steps.begin(runtime, "desktop_ca")
        for after in (Step.BEGUN, Step.SWITCHED, Step.STEADY):
            assert desktop_ca.standing(desk.state_dir / "secrets").step is after
            comes_in(desk)
            assert (tended(runtime), tended(runtime)) == (1, 0), after
            comes_in(desk)
            steps.advance(runtime)
        until(lambda: answer(desk, VNC_DOOR, stale) == b"", "the old authority to be forgotten", 10)
        viewer.sendall(b"\x03\x00" + bytes(4) + b"\x00\x10\x00\x10")
        assert rfb.exactly(viewer, 1) == b"\x00"


def comes_in(desk: Desk) -> None:
    with doors.reach(desk.state_dir, "light-1", desk.target.address, VNC_DOOR, timeout=20) as viewer:
        assert rfb.exactly(viewer, 12) == rfb.VERSION


def shown(desk: Desk) -> bytes | None:
    """The certificate that the door shows now."""
    with desk.viewer() as viewer:
        return viewer.getpeercert(binary_form=True)


def test_a_door_that_dies_is_open_again_soon(desk: Desk) -> None:
    desk.root("pkill -KILL -u beamdesk-door")

    def opened() -> bool:
        with suppress(OSError):
            return colours(desk.frame()) > 500
        return False

    until(opened, "the door", 10)
