"""A native VNC viewer, through the SSH gateway, by the very command that the portal shows."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.demo import Demo
from tests.journeys.conftest import SignIn, download, number_of
from tests.screens import colours, difference, screen
from tests.waiting import until


def test_a_native_viewer_shows_the_desktop(demo: Demo, launched: Page, sign_in: SignIn, tmp_path: Path) -> None:
    """TigerVNC's own: no password is typed, and the machine's VNC server sees it come from the machine itself."""
    id_ = number_of(launched)
    download(launched, tmp_path / f"beamdesk-{id_}.conf")
    portal = sign_in("alice", "beamtime")
    portal.get_by_role("button", name="Connect").click()
    expect(portal.locator("[data-vnc]")).to_be_visible()
    command = portal.locator("[data-vnc]").text_content()
    assert command
    own_host = ["ssh", "-F", f"beamdesk-{id_}.conf", "desktop", "ss -Htn state established src 127.0.0.1:5901"]
    with screen(1600, 900) as host, (tmp_path / "log").open("w") as log:
        own = {"DISPLAY": host.display, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        begin = host.picture()
        viewer = subprocess.Popen(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            until(lambda: difference(begin, host.picture()) > 0.02, f"the viewer; its log is {log.name}", 30)
            assert colours(host.picture()) > 100
            found = subprocess.run(own_host, cwd=tmp_path, capture_output=True, text=True, timeout=30)
            assert "127.0.0.1:5901" in found.stdout, f"nobody looks on from the machine itself: {found.stderr}"
        finally:
            os.killpg(viewer.pid, signal.SIGTERM)
            viewer.wait(10)
