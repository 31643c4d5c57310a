"""A deployment whose cloud lets nobody in: its machines dial out, and all of its doors are reached through that."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from sqlalchemy import select

from broker.configuration import ca, desktop_ca
from broker.database import Base
from broker.identity.models import User
from broker.pools import jobs
from broker.pools.manager import PoolManager
from broker.pools.models import Machine, MachineState
from broker.runtime import open_runtime
from broker.settings import Settings
from tests.integration.gateways.lab import COMMAND, Gateway, environment
from tests.integration.gateways.ssh_lab import OTHER, without_rights
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
PARTS = {"tunnels": ("tunnels",), "browser": (), "rdp": ("rdp",), "ssh": ("ssh",)}
M = MachineState


class Deployment:
    """Its parts, each a process; its manager's passes and its jobs are done here, one after the other."""

    def __init__(self, lab: Lab, redis_url: str) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="beamdesk-nat-")  # pytest's are closed to other accounts
        self.folder = Path(self._temporary.name)
        self.folder.chmod(0o755)
        self.drop = without_rights()
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
                account=OTHER if self.drop else "root",
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
        self.parts[part] = Gateway(address, self.config, [*drop, *COMMAND, *PARTS[part]])
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
        """The machine, once it has arrived, is configured and is probed."""
        arrived = until(lambda: self.pass_(M.CONFIGURING, M.FAILED), "the machine to dial in")
        assert arrived.state == M.CONFIGURING, arrived.failure
        jobs.configure_machine(arrived.id, arrived.attempt)
        return self.machine(arrived.id)
