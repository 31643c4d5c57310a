"""A deployment whose cloud lets nobody in: its machines dial out, and all of its doors are reached through that."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import select

from broker.clouds import dialling
from broker.configuration import ca, desktop_ca, ssh
from broker.database import Base
from broker.gateways import dialled_in
from broker.identity.models import User
from broker.identity.service import begin_sign_in
from broker.pools import jobs
from broker.pools.allocation import Wish
from broker.pools.manager import PoolManager
from broker.pools.models import Machine, MachineState
from broker.runtime import open_runtime
from broker.sessions import jobs as session_jobs
from broker.sessions import launch, service
from broker.settings import Settings
from tests.integration.gateways.lab import COMMAND, Gateway, environment
from tests.integration.gateways.ssh_lab import MINE, OTHER, Visitor, without_rights
from tests.integration.machine.lab import Lab
from tests.ports import free_port
from tests.waiting import until

HOST = "10.231.32.1"  # of the lab's network: where its machines see us
SETTINGS = """
deployment = "nat"
state_dir = {folder}
[database]
[redis]
url = "{redis_url}"
[web]
public_url = "http://localhost:8080"
[gateway]
listen = "127.0.0.1:{browser}"
[rdp]
listen = "127.0.0.1:{rdp}"
[ssh]
listen = "127.0.0.1:{ssh}"
account = "{account}"
[tunnels]
listen = "0.0.0.0:{tunnels}"
public_address = "{host}:{tunnels}"
network = "{network}"
[times]
build_timeout = {build_timeout}
[clouds.nat]
title = "Behind NAT"
driver = "beamdesk-local"
location = "here"
image = "debian"
reach = "tunnel"
options = {{ socket = {socket} }}
[sizes.small]
cores = 2
memory_gb = 2
[environments.light]
title = "Light desktop"
description = "A terminal."
roles = ["light"]
[pools.light-nat]
environment = "light"
size = "small"
cloud = "nat"
target = 1
limit = 2
"""
HASTY = """
from broker.gateways import tunnels
from broker.runtime import current
tunnels.SILENT, tunnels.WAITING, tunnels.WAITING_OF_ONE = 1, 40, 15
tunnels.run(current())
"""  # the same gateway, which has less patience, and place for fewer on their way in
PARTS = {
    "tunnels": (sys.executable, "-c", HASTY),
    "browser": COMMAND,
    "rdp": (*COMMAND, "rdp"),
    "ssh": (*COMMAND, "ssh"),
}
M = MachineState


class Deployment:
    """Its parts, each a process; its manager's passes and its jobs are done here, one after the other."""

    def __init__(self, lab: Lab, redis_url: str) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="beamdesk-nat-")  # pytest's are closed to other accounts
        self.folder = Path(self._temporary.name)
        self.folder.chmod(0o755)
        self.drop = without_rights()
        self.account = OTHER if self.drop else MINE
        self.ports = {part: free_port() for part in PARTS}
        self.network = f"127.{96 + os.getpid() % 32}.{os.getpid() // 32 % 256}.0/24"
        self.config = self.folder / "beamdesk.toml"
        self.config.write_text(
            SETTINGS.format(
                folder=json.dumps(str(self.folder)),
                socket=json.dumps(str(lab.socket)),
                redis_url=redis_url,
                host=HOST,
                network=self.network,
                account=self.account,
                build_timeout=60,
                **self.ports,
            )
        )
        with environment(BEAMDESK_CONFIG=str(self.config)):
            self.runtime = open_runtime(Settings())
        Base.metadata.create_all(self.runtime.database.engine)
        with self.runtime.database.transaction() as db:
            db.add(User(name="alice", full_name="Alice", password_hash=""))
        (self.folder / "run").mkdir()
        ca.trusted(self.runtime.settings.secrets_dir)
        desktop_ca.trusted(self.runtime.settings.secrets_dir)
        for path in (self.folder, *self.folder.rglob("*")):
            if self.drop:
                shutil.chown(path, OTHER, OTHER)
        self.manager = PoolManager(self.runtime)
        self.parts: dict[str, Gateway] = {}

    def start(self, part: str) -> Gateway:
        """One of its gateways; those that must not be root are not."""
        drop = self.drop if part in ("tunnels", "ssh") else []
        address = f"127.0.0.1:{self.ports[part]}"
        self.parts[part] = Gateway(address, self.config, [*drop, *PARTS[part]])
        return self.parts[part]

    def pass_(self, *states: MachineState) -> Machine | None:
        """One pass of the manager; the pool's first machine in one of these states."""
        self.manager.tend({})
        with self.runtime.database.reading() as db:
            return db.scalars(select(Machine).where(Machine.state.in_(states)).order_by(Machine.id)).first()

    def build(self) -> Machine:
        """A machine of the pool that was asked for, and runs; whether it can be reached is not known."""
        asked = until(lambda: self.pass_(M.REQUESTED), "the manager to ask for a machine")
        jobs.build_machine(asked.id, asked.attempt)
        return self.machine(asked.id)

    def machine(self, id_: int) -> Machine:
        """As its row is now."""
        with self.runtime.database.reading() as db:
            return db.get_one(Machine, id_)

    def configure(self) -> Machine:
        """The machine, once it has dialled in, is configured and is probed."""
        arrived = until(lambda: self.pass_(M.CONFIGURING, M.FAILED), "the machine to dial in")
        assert arrived.state == M.CONFIGURING, arrived.failure
        jobs.configure_machine(arrived.id, arrived.attempt)
        return self.machine(arrived.id)

    def launch(self) -> Visitor:
        """Alice, with a desktop that is painted."""
        with self.runtime.database.reading() as db:
            user = db.scalars(select(User)).one()
        token, person = begin_sign_in(self.runtime, user)
        session = service.request(self.runtime, person, Wish("light"))
        launch.prepare(self.runtime, session.id)
        return Visitor(self, person, token, session.id)  # type: ignore[arg-type]  # of a lab, it uses what we have, too

    def end(self, visitor: Visitor) -> None:
        """End the session as its user does; a worker puts its files away, and its machine is to go."""
        attempt = service.end(self.runtime, visitor.person, visitor.session_id).attempt
        session_jobs.finish_session(visitor.session_id, attempt)

    @property
    def gateway(self) -> Gateway:
        """The browsers', for who views a desktop."""
        return self.parts["browser"]

    @property
    def files(self) -> Path:
        """Where visitors' files lie."""
        return self.folder

    def close(self) -> None:
        """End all of it; machines are their cloud's."""
        ssh.close_all(self.folder)
        for part in self.parts.values():
            part.process.terminate()
        for part in self.parts.values():
            part.process.wait(20)
        dialled_in.cut(self.ports["tunnels"], ())
        self.runtime.database.close()
        self._temporary.cleanup()


@contextmanager
def deployment(lab: Lab, redis_url: str) -> Iterator[Deployment]:
    """One with all its gateways; what jobs call the process's own runtime is its."""
    with closing(Deployment(lab, redis_url)) as made:
        with ThreadPoolExecutor(len(PARTS)) as together:
            list(together.map(made.start, PARTS))
        with (
            patch.object(jobs, "current", lambda: made.runtime),
            patch.object(session_jobs, "current", lambda: made.runtime),
            patch.object(dialling, "SILENT", 1),
        ):
            yield made
