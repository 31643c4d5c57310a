"""`serve.py NAME PORT`: Keystone, Placement, Glance, Neutron or Nova. Run by the Python that has OpenStack.

Each service makes its own tables first: that saves a process, and so an import of all its modules.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Any
from unittest import mock

import tables
import waitress

DATABASE = os.environ["DATABASE"]  # the URL
PASSWORD = os.environ["OS_PASSWORD"]
REGION = os.environ["OS_REGION_NAME"]


def keystone(url: str) -> Any:
    """With the domain, the project, the user and the catalogue's first entry that `keystone-manage bootstrap` makes."""
    from keystone.cmd import bootstrap
    from keystone.common.sql.core import ModelBase
    from keystone.resource.backends.base import NULL_DOMAIN_ID
    from keystone.wsgi.api import application

    root = {"id": NULL_DOMAIN_ID, "name": NULL_DOMAIN_ID, "domain_id": NULL_DOMAIN_ID, "enabled": False}
    tables.create(DATABASE, ModelBase.metadata, {"project": [{**root, "is_domain": True, "extra": {}}]})
    with mock.patch.object(bootstrap.backends, "load_backends"):  # the application has loaded them
        first = bootstrap.Bootstrapper()
    first.admin_username = first.project_name = first.admin_role_name = "admin"
    first.admin_password, first.region_id, first.service_name = PASSWORD, REGION, "keystone"
    first.public_url = first.internal_url = f"{url}/v3"
    first.bootstrap()
    return application


def placement(_: str) -> Any:
    """It fills in its traits and resource classes itself."""
    from placement.db.sqlalchemy.models import BASE

    tables.create(DATABASE, BASE.metadata)
    from placement.wsgi.api import application

    return application


def glance(_: str) -> Any:
    """It keeps images as files."""
    from glance.db.sqlalchemy.models import BASE

    tables.create(DATABASE, BASE.metadata)
    from glance.wsgi.api import application

    return application


def neutron(_: str) -> Any:
    """With an agent of Open vSwitch that seems to live, so that ports bind; nothing forwards packets."""
    from neutron.db.migration.models import head

    agent = {
        "id": "11111111-1111-1111-1111-111111111111",
        "agent_type": "Open vSwitch agent",
        "binary": "neutron-openvswitch-agent",
        "topic": "N/A",
        "host": "host-1",
        "created_at": datetime(2026, 1, 1),  # noqa: DTZ001 (its columns have no zone)
        "started_at": datetime(2026, 1, 1),  # noqa: DTZ001
        "heartbeat_timestamp": datetime(2037, 1, 1),  # noqa: DTZ001
        "configurations": json.dumps({"bridge_mappings": {}, "tunnel_types": [], "datapath_type": "system"}),
    }
    tables.create(DATABASE, head.get_metadata(), {"agents": [agent]})
    from neutron.wsgi.api import application

    return application


def nova(_: str) -> Any:
    """In threads, which must be said before anything of it is imported."""
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")
    import nova_in_one

    return nova_in_one.start()


SERVICES: dict[str, Callable[[str], Any]] = {
    "keystone": keystone,
    "placement": placement,
    "glance": glance,
    "neutron": neutron,
    "nova": nova,
}


if __name__ == "__main__":
    name, port = sys.argv[1:]
    sys.argv[1:] = []  # the services read them too
    try:
        application = SERVICES[name](f"http://127.0.0.1:{port}")
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # without waiting for the threads of what has started
    # One request after the other, for SQLite; Nova asks the others while it answers, and its transactions take turns.
    waitress.serve(application, listen=f"127.0.0.1:{port}", threads=8 if name == "nova" else 1)
