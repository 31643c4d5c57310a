"""python -m agents.localcloud: the embedded cloud's privileged daemon."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from agents.localcloud.cloud import Cloud, purge
from agents.localcloud.config import CloudError, ConfigError, load
from agents.localcloud.server import Server, free

# program -> the Debian package that has it
NEEDED = {
    "ip": "iproute2",
    "tc": "iproute2",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "nft": "nftables",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}


def main() -> None:
    """Parse the command line, check what is needed, and do it."""
    parser = argparse.ArgumentParser(prog="python -m agents.localcloud", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="run the daemon; machines outlive it")
    serve.add_argument("--config", type=Path, required=True, help="localcloud.toml")
    serve.add_argument("--socket", type=Path, required=True, help="where the API listens")
    serve.add_argument("--owner", type=int, default=os.getuid(), help="the account that may use the API, beside root")
    serve.add_argument("--while-stdin", action="store_true", help="at the end of standard input, purge and stop")
    clear = verbs.add_parser("purge", help="remove every machine that was ever made in the state directory")
    for command in (serve, clear):
        command.add_argument("--state", type=Path, required=True, help="the daemon's own folder")
    arguments = parser.parse_args()
    try:
        _must_be_able()
        _serve(arguments) if arguments.verb == "serve" else _purge(arguments.state)
    except (ConfigError, CloudError) as error:
        sys.exit(f"localcloud: {error}")


def _must_be_able() -> None:
    if os.getuid() != 0:
        raise ConfigError("it makes namespaces and mounts, for which it must be root; start it with sudo")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    for program, package in NEEDED.items():
        if shutil.which(program, path=path) is None:
            raise ConfigError(f"{program} is missing; install the package {package}")


def _serve(arguments: argparse.Namespace) -> None:
    config = load(arguments.config)
    state = arguments.state.absolute()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "lock").open("a") as lock:
        _alone(lock.fileno(), state)
        free(arguments.socket.absolute())
        cloud = Cloud(config, state)
        server = Server(cloud, arguments.socket.absolute(), arguments.owner)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        if arguments.while_stdin:
            threading.Thread(target=_until_input_ends, args=(server,), daemon=True).start()
        server.serve_forever(poll_interval=0.1)
        server.server_close()
        arguments.socket.unlink(missing_ok=True)
        cloud.close()
        if arguments.while_stdin:
            purge(state)


def _alone(lock: int, state: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigError(f"a local cloud is at work in {state} already") from None


def _until_input_ends(server: Server) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    server.shutdown()


def _purge(state: Path) -> None:
    state = state.absolute()
    if not state.is_dir():
        return
    with (state / "lock").open("a") as lock:
        _alone(lock.fileno(), state)
        purge(state)


if __name__ == "__main__":
    main()
