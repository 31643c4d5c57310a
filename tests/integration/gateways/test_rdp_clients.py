"""A real RDP client with a downloaded file, through the gateway, to a real RDP server on a real screen."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import update

from agents.machine import rdp
from broker import rfb
from broker.identity.models import User
from tests import screens
from tests.certificates import authority
from tests.integration.gateways.lab import ADDRESS, PASSWORD, Lab, Screen
from tests.integration.gateways.rdp_lab import RdpDesk
from tests.screens import colours, difference
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="xrdp keeps its own /run, for which it must be root")

ROOT = Path(__file__).parents[3]
OURS = ROOT / "ansible/roles/desktop/files/root/etc/beamdesk/xrdp.ini"
START = 'mount -t tmpfs tmpfs /run && mkdir /run/xrdp && for each; do xrdp --nodaemon --config "$each" & done; wait'


@pytest.fixture(scope="module")
def rdp_server(tmp_path_factory: pytest.TempPathFactory, screen: Screen) -> Iterator[None]:
    """xrdp as machines have it, but that it asks nobody but the screen whether the file's password is right."""
    folder = tmp_path_factory.mktemp("xrdp")
    certificate, key = authority().write(folder)
    text = OURS.read_text().replace("port=tcp://127.0.0.1:3389", f"port=tcp://{ADDRESS}:3389")
    text = text.replace("/etc/beamdesk/rdp-certificate.pem", str(certificate))
    text = text.replace("/etc/beamdesk/rdp-key.pem", str(key)).replace("/var/log/xrdp.log", str(folder / "xrdp.log"))
    text = text.replace("ip=127.0.0.1\nport=5901", f"ip={ADDRESS}\nport=5901").partition("pamusername=")[0]
    configs = [folder / f"{name}.ini" for name in rdp.SERVERS]
    for config, port in zip(configs, rdp.SERVERS.values(), strict=True):
        config.write_text(rdp.settings(text, port))
    line = ["unshare", "--mount", "--kill-child", "--fork", "sh", "-c", START, "sh", *map(str, configs)]
    with (folder / "log").open("w") as log, subprocess.Popen(line, stdout=log, stderr=log, process_group=0) as server:
        try:
            until(lambda: all(map(listens, rdp.SERVERS.values())), f"xrdp; its log is in {folder}", 20)
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            screen.run("xrandr", "-s", "800x600")  # clients gave it their own size


def listens(port: int) -> bool:
    found = subprocess.run(["ss", "-Htln", "src", ADDRESS, "sport", "=", f":{port}"], capture_output=True, text=True)
    return bool(found.stdout)


@contextmanager
def client(file: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], screens.Screen]]:
    """xfreerdp that has opened the file, and the screen that it fills."""
    with screens.screen(1600, 900) as host, file.with_suffix(".log").open("w") as log:
        own = {"DISPLAY": host.display, "HOME": str(file.parent), "PATH": os.environ["PATH"], **environment}
        line = ["xfreerdp", str(file), "/f", "-decorations", *options]
        process = subprocess.Popen(line, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process, host
        finally:
            process.terminate()
            process.wait(10)


def shown() -> Image.Image:
    """What the desktop shows."""
    with socket.create_connection((ADDRESS, 5901)) as connection:
        frame = rfb.look(connection, PASSWORD, ends=time.monotonic() + 10)
    return Image.frombuffer("RGB", (frame.width, frame.height), frame.pixels, "raw", "BGRX", 0, 1)


@pytest.mark.parametrize("tls", ["machine", "gateway"])
def test_a_file_opens_the_desktop_without_a_question_and_once(
    tls: str, rdp_server: None, own_rdp: Callable[..., Lab], tmp_path: Path
) -> None:
    """With TLS that ends at the machine, and with TLS that ends at the gateway, whose certificate the client verifies
    by its authority; signed, as Windows wants it."""
    root = authority()
    authorities = root.write(tmp_path)[0]
    chain, key = (str(path) for path in root.vouch_for("localhost").write(tmp_path))
    signing = {"signing_certificate": chain, "signing_key": key}
    lab = own_rdp(**signing) if tls == "machine" else own_rdp(**signing, tls=tls, certificate=chain, key=key)
    trust = "/cert:ignore" if tls == "machine" else "/cert:deny"  # deny: what cannot be verified is not asked about
    with closing(RdpDesk(lab, address=ADDRESS)) as desk:
        file = tmp_path / "session.rdp"
        file.write_text(desk.file(), newline="")
        with client(file, trust, SSL_CERT_FILE=str(authorities)) as (process, host):
            until(lambda: difference(host.picture(), shown()) < 0.02, "both to show the same", 30)
            assert colours(host.picture()) > 1
            with client(file, trust, SSL_CERT_FILE=str(authorities)) as (again, _):
                assert again.wait(30) != 0, "the file opened a second connection"
            assert process.poll() is None
            desk.end_session()
            assert process.wait(30) != 0


def test_a_client_that_does_not_trust_the_gateways_certificate_says_so(
    rdp_server: None, own_rdp: Callable[..., Lab], tmp_path: Path
) -> None:
    """Somebody else's gateway in between is noticed, before the password is sent."""
    chain, key = (str(path) for path in authority().vouch_for("localhost").write(tmp_path))
    lab = own_rdp(tls="gateway", certificate=chain, key=key)
    with closing(RdpDesk(lab, address=ADDRESS)) as desk:
        file = tmp_path / "session.rdp"
        file.write_text(desk.file(), newline="")
        with client(file, "/cert:deny") as (process, _):
            assert process.wait(30) != 0
        assert "certificate" in file.with_suffix(".log").read_text().lower()


def test_copies_leave_the_desktop_where_the_policy_lets_them_and_nowhere_else(
    rdp_server: None, screen: Screen, own_rdp: Callable[..., Lab], tmp_path: Path
) -> None:
    """By a client that asks for the clipboard, drives, printers and sound, whatever its file says; held back, it shows
    the desktop all the same."""
    lab = own_rdp()
    asking = ("/cert:ignore", "+clipboard", f"/drive:mine,{tmp_path}", "/printer", "/sound:sys:fake")
    inside = screen.environment["DISPLAY"]
    with closing(RdpDesk(lab, address=ADDRESS)) as desk:
        for groups, leaves in (["nothing-in"], False), ([], True):
            with lab.runtime.database.transaction() as db:
                db.execute(update(User).where(User.name == "alice").values(groups=groups))
            file = tmp_path / f"{leaves}.rdp"
            file.write_text(desk.file(), newline="")
            with client(file, *asking) as (_, host):
                until(lambda: difference(host.picture(), shown()) < 0.02, "both to show the same", 30)
                secret = f"a secret {leaves}"
                with screen.program("xclip", "-quiet", "-i", "-selection", "clipboard", says=secret):
                    until(lambda secret=secret: copied(inside) == secret, "the copy inside", 10)
                    if leaves:
                        until(lambda secret=secret: copied(host.display) == secret, "the copy at the client", 20)
                    else:
                        assert [copied(host.display) for _ in range(5)] == [""] * 5


def copied(display: str) -> str:
    """What can be pasted on that display."""
    line = ["timeout", "5", "xclip", "-o", "-selection", "clipboard"]
    return subprocess.run(line, env={**os.environ, "DISPLAY": display}, capture_output=True, text=True).stdout
