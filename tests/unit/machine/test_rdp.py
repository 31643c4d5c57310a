"""A machine's two RDP servers: one desktop, with the clipboard and without."""

from __future__ import annotations

from configparser import RawConfigParser
from pathlib import Path

from agents.machine import rdp
from agents.machine.seat import RDP_PORT, RDP_PORT_WITHOUT_CLIPBOARD

OURS = Path(__file__).parents[3] / "ansible/roles/desktop/files/root/etc/beamdesk/xrdp.ini"


def read(port: int) -> dict[tuple[str, str], str]:
    """What xrdp reads of that server's settings."""
    parser = RawConfigParser(comment_prefixes=(";",))
    parser.read_string(rdp.settings(OURS.read_text(), port))
    return {(part, name): value for part in parser.sections() for name, value in parser.items(part)}


def test_they_differ_in_their_port_and_their_clipboard_alone() -> None:
    """So that both show the very same desktop, with one way to sign in."""
    free, held = (read(port) for port in (RDP_PORT, RDP_PORT_WITHOUT_CLIPBOARD))
    differing = {key for key in free | held if free.get(key) != held.get(key)}
    assert differing == {("Globals", "port"), ("Channels", "cliprdr")}
    assert (free["Channels", "cliprdr"], held["Channels", "cliprdr"]) == ("true", "false")
    assert free["Globals", "port"].endswith(str(RDP_PORT))
    assert held["Globals", "port"].endswith(str(RDP_PORT_WITHOUT_CLIPBOARD))


def test_neither_carries_drives_printers_or_sound() -> None:
    """Whatever the policy; a channel that is not listed is closed."""
    for port in rdp.SERVERS.values():
        channels = {name: value for (part, name), value in read(port).items() if part == "Channels"}
        assert {name for name, value in channels.items() if value != "false"} <= {"cliprdr", "drdynvc"}
