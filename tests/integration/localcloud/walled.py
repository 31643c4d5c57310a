"""A bare machine of any cloud, whose root may steer its network, with the role's firewall; and who then gets in.

Run in network and mount namespaces of its own, because it lays over /etc and makes addresses: `unshare --net --mount
python -m tests.integration.localcloud.walled FOLDER`. It reads cases from standard input, a name and addresses each,
and prints for each what the role's program said and which pairs of source and port are let in.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import product
from pathlib import Path

from tests.waiting import until

ROLE = Path(__file__).parents[3] / "ansible/roles/firewall/files"
PROGRAM = str(ROLE / "programs/usr/local/lib/beamdesk/firewall")
SOURCES = {"10.9.0.2": "10.9.0.1", "10.9.0.3": "10.9.0.1", "2001:db8::2": "2001:db8::1"}
PORTS = (22, 3389, 3390, 5901, 13389, 13390, 15901, 15902, 15903)
LISTEN = """
import select, socket
servers = [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in %r]
print("ready", flush=True)
while True:
    for server in select.select(servers, [], [])[0]:
        server.accept()
"""


def run(*words: str) -> str:
    """What it prints."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def connected(source: str, port: int) -> bool:
    """Whether a connection is made; what the firewall drops is never answered."""
    with suppress(OSError), socket.create_connection((SOURCES[source], port), 0.4, (source, 0)):
        return True
    return False


def main(folder: Path) -> None:
    """Make both sides, and try each case."""
    for name in ("upper", "work"):
        (folder / name).mkdir()
    run(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work",
        "/etc",
    )
    Path("/etc/beamdesk").mkdir(exist_ok=True)
    shutil.copy(ROLE / "root/etc/beamdesk/firewall.nft", "/etc/beamdesk")
    listen = ["unshare", "--net", sys.executable, "-c", f"input()\n{LISTEN % (PORTS,)}"]
    with subprocess.Popen(listen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as machine:
        assert machine.stdin is not None
        assert machine.stdout is not None
        spaces = [Path(f"/proc/{process}/ns/net") for process in (machine.pid, "self")]
        until(lambda: spaces[0].readlink() != spaces[1].readlink(), "the machine's own network", every=0.01)
        inside = ("nsenter", f"--net=/proc/{machine.pid}/ns/net")
        run("ip", "link", "add", "out", "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
        for there, link, addresses in (((), "out", SOURCES), (inside, "eth0", set(SOURCES.values()))):
            for address in addresses:
                flags = ["nodad"] if ":" in address else []
                run(*there, "ip", "addr", "add", f"{address}/{64 if flags else 24}", "dev", link, *flags)
            run(*there, "ip", "link", "set", link, "up")
        machine.stdin.write("\n")
        machine.stdin.flush()
        machine.stdout.readline()
        until(lambda: all(connected(source, 5901) for source in SOURCES), "the network, which has no firewall yet")
        found = {}
        for name, addresses in json.load(sys.stdin).items():
            said = [run(*inside, PROGRAM, "from", *addresses) for _ in range(2)]
            run(*inside, PROGRAM)  # as at a start of the machine
            pairs = list(product(SOURCES, PORTS))
            with ThreadPoolExecutor(len(pairs)) as threads:
                let_in = threads.map(lambda pair: connected(*pair), pairs)
                found[name] = {"said": said, "in": [pair for pair, came in zip(pairs, let_in, strict=True) if came]}
        print(json.dumps(found))
        machine.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
