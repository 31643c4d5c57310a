"""Nova's API, conductor, scheduler and one host in one process, as in Nova's functional tests.

They speak over a transport within the process. The host's hypervisor is Nova's fake one, with two GPUs.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import nova.conf
import os_vif
import tables
from nova import config, context, objects, service, utils
from nova.api.openstack import wsgi_app
from nova.compute.rpcapi import RPC_TOPIC as COMPUTE
from nova.compute.rpcapi import RPC_TOPIC_ALT as COMPUTE_ALT
from nova.conductor.rpcapi import RPC_TOPIC as CONDUCTOR
from nova.db.api.models import BASE as API_BASE
from nova.db.main.models import BASE as MAIN_BASE
from nova.objects.host_mapping import discover_hosts
from nova.scheduler.rpcapi import RPC_TOPIC as SCHEDULER
from nova.virt import fake
from oslo_log import log
from oslo_privsep import priv_context
from oslo_service import _options as service_options
from paste import deploy

CONF = nova.conf.CONF


class HostWithGpus(fake.FakeDriverWithoutFakeNodes):  # type: ignore[misc]
    """A host that keeps its name, with two GPUs."""

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        """Called by Nova."""
        gpu: dict[str, Any] = {"vendor_id": "10de", "product_id": "20b0", "dev_type": "type-PCI", "status": "available"}
        gpu |= {"label": "gpu", "numa_node": None, "parent_addr": None}
        gpus = [{**gpu, "address": f"0000:0{number}:00.0"} for number in (1, 2)]
        return {**super().get_available_resource(nodename), "pci_passthrough_devices": json.dumps(gpus)}


def create_cells() -> None:
    """What `nova-manage` does for a new cloud: its databases, and one cell besides the one for failed nodes."""
    main, nowhere = CONF.database.connection, CONF.database.connection.replace("nova.db", "nova_cell0.db")
    tables.create(CONF.api_database.connection, API_BASE.metadata)
    tables.create(main, MAIN_BASE.metadata)
    tables.create(nowhere, MAIN_BASE.metadata)
    cells = {"cell0": ("none:///", nowhere), "cell1": (CONF.transport_url, main)}
    for name, (transport, database) in cells.items():
        number = objects.CellMapping.CELL0_UUID[:-1] + name[-1]
        mapping = {"uuid": number, "name": name, "transport_url": transport, "database_connection": database}
        objects.CellMapping(context.get_admin_context(), **mapping).create()


def wait_for(url: str) -> None:
    """Wait until something answers there: a host that starts without Keystone and Placement never joins."""
    while True:
        try:
            urlopen(url, timeout=10).close()  # noqa: S310 (our own address)
        except HTTPError:
            return
        except (URLError, TimeoutError):
            time.sleep(0.1)
        else:
            return


def start() -> Any:
    """Start all of Nova; its API, as a WSGI application."""
    config.parse_args(["nova", "--config-file", os.environ["NOVA_CONFIG"]])
    log.setup(CONF, "nova")
    objects.register_all()
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_vif.initialize()
    CONF.register_opts(service_options.service_opts)
    fake.HostWithGpus = HostWithGpus
    create_cells()
    tables.take_turns()
    wait_for(os.environ["OS_AUTH_URL"])
    wait_for(CONF.placement.endpoint_override)
    service.Service.create(binary="nova-conductor", topic=CONDUCTOR).start()
    service.Service.create(binary="nova-scheduler", topic=SCHEDULER).start()
    service.Service.create(binary="nova-compute", topic=COMPUTE, topic_alt=COMPUTE_ALT).start()
    discover_hosts(context.get_admin_context())
    wsgi_app._setup_service(CONF.host, "osapi_compute")
    return deploy.loadapp(f"config:{CONF.wsgi.api_paste_config}", name="osapi_compute")
