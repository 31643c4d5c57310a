"""Requests that try to be taken for others: by their path, their headers, or where one ends and the next begins."""

from __future__ import annotations

import socket

from tests.integration.gateways.lab import PORTAL, Desk

OURS, EVIL = f"Origin: {PORTAL}", "Origin: https://evil.example"
LINE, ORIGIN, COOKIE = "GET /desktop?token=TICKET HTTP/1.1", OURS, "Cookie: COOKIE"
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
REST = ["Host: localhost:6080", *UPGRADE, KEY]


def path(target: str, version: str = "HTTP/1.1") -> list[str]:
    """A request that is good but for its first line."""
    return [f"GET {target} {version}", *REST, ORIGIN, COOKIE]


# What each is answered; nothing, or nothing with a status, where it speaks another HTTP.
TRICKS: dict[str, tuple[str, list[str]]] = {
    "a dot": ("404", path("/./desktop?token=TICKET")),
    "two dots": ("404", path("/x/../desktop?token=TICKET")),
    "an encoded letter": ("404", path("/%64esktop?token=TICKET")),
    "encoded dots": ("404", path("/%2e%2e/desktop?token=TICKET")),
    "a slash behind": ("404", path("/desktop/?token=TICKET")),
    "a parameter": ("404", path("/desktop;a?token=TICKET")),
    "a backslash": ("404", path("\\desktop?token=TICKET")),
    "a whole address": ("404", path("http://localhost:6080/desktop?token=TICKET")),
    "another host's address": ("404", path("//evil.example/desktop?token=TICKET")),
    "the ticket in the path": ("404", path("/desktop/TICKET")),
    "the ticket in the fragment": ("404", path("/desktop#token=TICKET")),
    "the ticket under another name": ("401", path("/desktop?ticket=TICKET")),
    "the ticket encoded twice": ("401", path("/desktop?token=%2554ICKET")),
    "the ticket in a header": ("401", [*path("/desktop"), "token: TICKET", "X-Token: TICKET"]),
    "the ticket in the cookie": ("401", [*path("/desktop")[:-1], "Cookie: COOKIE; token=TICKET"]),
    "HTTP/0.9": ("", path("/desktop?token=TICKET", "")),
    "HTTP/1.0": ("422", path("/desktop?token=TICKET", "HTTP/1.0")),
    "HTTP/2": ("", path("/desktop?token=TICKET", "HTTP/2.0")),
    "no upgrade": ("405", [LINE, REST[0], REST[2], REST[3], KEY, ORIGIN, COOKIE]),
    "another upgrade": ("405", [LINE, REST[0], "Upgrade: h2c", REST[2], REST[3], KEY, ORIGIN, COOKIE]),
    "two upgrades": ("405", [LINE, REST[0], "Upgrade: h2c", *REST[1:], ORIGIN, COOKIE]),
    "no key": ("422", [LINE, *REST[:-1], ORIGIN, COOKIE]),
    "an old version": ("422", [LINE, *REST[:3], "Sec-WebSocket-Version: 8", KEY, ORIGIN, COOKIE]),
    "a forwarded host": ("403", [LINE, *REST, EVIL, COOKIE, "X-Forwarded-Host: evil.example", "X-Forwarded-Port: 443"]),
    "forwarded all": ("403", [LINE, *REST, EVIL, COOKIE, "Forwarded: host=evil.example;proto=https"]),
    "another host": ("403", [LINE, "Host: evil.example", *REST[1:], EVIL, COOKIE]),
    "two origins": ("403", [LINE, *REST, ORIGIN, EVIL, COOKIE]),
    "two origins, the other way round": ("403", [LINE, *REST, EVIL, ORIGIN, COOKIE]),
    "an origin that is folded": ("403", [LINE, *REST, f"Origin:\r\n {EVIL[8:]}", COOKIE]),
    "a space before the colon": ("401", [LINE, *REST, f"Origin : {EVIL[8:]}", COOKIE]),
    "a forwarded person": ("401", [LINE, *REST, ORIGIN, "X-Forwarded-User: alice", "Remote-User: alice"]),
    "two lengths": ("411", [LINE, *REST, ORIGIN, COOKIE, "Content-Length: 4", "Transfer-Encoding: chunked"]),
    "chunks": ("411", [LINE, *REST, ORIGIN, COOKIE, "transfer-encoding : chunked"]),
    "a large header": ("431", [LINE, *REST, ORIGIN, COOKIE, f"X: {'y' * 40000}"]),
    "many headers": ("431", [LINE, *REST, ORIGIN, COOKIE, *(f"X-{number}: y" for number in range(200))]),
}


def asked(port: int, lines: list[str]) -> bytes:
    """All that the gateway says."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall("\r\n".join([*lines, "", "GET /smuggled HTTP/1.1", "", ""]).encode("latin-1"))
        return client.makefile("rb").read()


def test_no_trick_opens_a_desktop(desk: Desk) -> None:
    """Each is answered once and hung up on, with no second answer to what is smuggled behind it; and not one of them
    uses up the ticket."""
    ticket = desk.ticket()
    for name, (status, lines) in TRICKS.items():
        filled = [line.replace("TICKET", ticket).replace("COOKIE", desk.headers["Cookie"]) for line in lines]
        heard = asked(desk.lab.gateway.port, filled)
        assert b"RFB" not in heard, name
        assert heard.count(b"HTTP/1.1 ") == bool(status), name
        assert not status or heard.split()[1].decode() == status, name
    assert desk(ticket).greet().is_alive()
