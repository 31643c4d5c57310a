"""Who looks at a desktop is counted from the kernel's own tables."""

from __future__ import annotations

import socket

from agents.machine.status import viewers


def test_only_open_connections_to_the_port_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert viewers(port) == 0
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            accepted = [server.accept()[0] for _ in range(2)]
            assert viewers(port) == 2
        for connection in accepted:
            connection.close()
        assert viewers(port) == 0
