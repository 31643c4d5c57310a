"""The services' configuration: the least with which they make a cloud."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
PASSWORD = "secret"
REGION = "RegionOne"
GPU = {"vendor_id": "10de", "product_id": "20b0"}

Sections = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Places:
    """Where the services keep what they have, where their packages are, and where they listen."""

    folder: Path
    venv: Path
    ports: Mapping[str, int]

    def url(self, service: str) -> str:
        """The service's address."""
        return f"http://{HOST}:{self.ports[service]}"

    def database(self, name: str) -> str:
        """The URL of a database, which waits a minute for its turn."""
        return f"sqlite:///{self.folder}/{name}.db?timeout=60"

    def file(self, service: str) -> Path:
        """The service's configuration."""
        return self.folder / f"{service}.conf"

    def log(self, service: str) -> Path:
        """What the service says."""
        return self.folder / f"{service}.log"

    def environment(self, service: str) -> dict[str, str]:
        """With what the service runs."""
        return {
            "PATH": f"{self.venv}/bin:{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
            "TMPDIR": str(self.folder),
            "DATABASE": self.database(service),
            "NOVA_CONFIG": str(self.file("nova")),
            "OS_PASSWORD": PASSWORD,
            "OS_REGION_NAME": REGION,
            "OS_AUTH_URL": f"{self.url('keystone')}/v3",
            **{f"OS_{name.upper()}_CONFIG_DIR": str(self.folder) for name in ("keystone", "placement", "glance")},
            "OS_NEUTRON_CONFIG_DIR": str(self.folder),
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
        }


def write(places: Places) -> None:
    """Write all services' files."""
    services = {"keystone": keystone, "placement": placement, "glance-api": glance, "neutron": neutron, "nova": nova}
    for name, sections in services.items():
        parser = RawConfigParser(default_section="")
        parser.read_dict({**COMMON, **sections(places)})
        with places.file(name).open("w") as file:
            parser.write(file)
    for keys in ("tokens", "credentials"):
        (places.folder / keys).mkdir()
        for number in ("0", "1"):
            (places.folder / keys / number).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))


COMMON: Sections = {"oslo_messaging_notifications": {"driver": "noop"}}


def account(places: Places) -> dict[str, object]:
    """With what a service signs in to the others."""
    return {
        "auth_url": f"{places.url('keystone')}/v3",
        "auth_type": "password",
        "username": "admin",
        "password": PASSWORD,
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": REGION,
    }


def checked(places: Places) -> dict[str, object]:
    """How a service checks its callers' tokens."""
    return {
        **account(places),
        "www_authenticate_uri": f"{places.url('keystone')}/v3",
        "service_token_roles_required": False,
    }


def client(places: Places, service: str) -> dict[str, object]:
    """How a service calls another."""
    return {**account(places), "endpoint_override": places.url(service), "valid_interfaces": "public"}


def keystone(places: Places) -> Sections:
    """Without a cache, each of its answers takes 0.3 s."""
    return {
        "database": {"connection": places.database("keystone"), "sqlite_synchronous": False},
        "identity": {"password_hash_rounds": 4},
        "token": {"provider": "fernet", "expiration": 86400},
        "fernet_tokens": {"key_repository": places.folder / "tokens"},
        "fernet_receipts": {"key_repository": places.folder / "tokens"},
        "credential": {"key_repository": places.folder / "credentials"},
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
    }


def placement(places: Places) -> Sections:
    """What hosts have and nodes use."""
    return {
        "placement_database": {"connection": places.database("placement"), "sqlite_synchronous": False},
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": checked(places),
    }


def glance(places: Places) -> Sections:
    """Images."""
    stores = {name: {"filesystem_store_datadir": places.folder / name} for name in ("images", "staging", "tasks")}
    return {
        "DEFAULT": {
            "enabled_backends": "images:file",
            "enabled_import_methods": "[]",
            "worker_self_reference_url": places.url("glance"),
            "transport_url": "fake://",
        },
        "database": {"connection": places.database("glance"), "sqlite_synchronous": False},
        "glance_store": {"default_backend": "images"},
        "images": stores["images"],
        "os_glance_staging_store": stores["staging"],
        "os_glance_tasks_store": stores["tasks"],
        "paste_deploy": {"flavor": "keystone", "config_file": places.venv / "etc/glance/glance-api-paste.ini"},
        "keystone_authtoken": checked(places),
    }


def neutron(places: Places) -> Sections:
    """Networks that reach no further than a host. Its agent's last heartbeat counts for as long as it can."""
    return {
        "DEFAULT": {
            "state_path": places.folder,
            "core_plugin": "ml2",
            "service_plugins": "router",
            "api_paste_config": places.venv / "etc/neutron/api-paste.ini",
            "auth_strategy": "keystone",
            "transport_url": "fake://",
            "agent_down_time": 2_000_000,
            "notify_nova_on_port_status_changes": False,
            "notify_nova_on_port_data_changes": False,
            "dhcp_agent_notification": False,
            "rpc_workers": 0,
        },
        "database": {"connection": places.database("neutron"), "sqlite_synchronous": False},
        "oslo_concurrency": {"lock_path": places.folder / "locks"},
        "quotas": {"quota_port": -1},
        "ml2": {
            "type_drivers": "local",
            "project_network_types": "local",
            "mechanism_drivers": "openvswitch",
            "extension_drivers": "port_security",
        },
        "keystone_authtoken": checked(places),
    }


def nova(places: Places) -> Sections:
    """A host without a real hypervisor, whose ports are taken for plugged at once."""
    return {
        "DEFAULT": {
            "state_path": places.folder,
            "host": "host-1",
            "my_ip": HOST,
            "transport_url": "fake://",
            "compute_driver": "fake.HostWithGpus",
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
            "service_down_time": 600,
        },
        "api": {"auth_strategy": "keystone"},
        "api_database": {"connection": places.database("nova_api"), "sqlite_synchronous": False},
        "database": {"connection": places.database("nova"), "sqlite_synchronous": False},
        "wsgi": {"api_paste_config": places.venv / "etc/nova/api-paste.ini"},
        "oslo_concurrency": {"lock_path": places.folder / "locks"},
        "quota": {"instances": 100, "cores": 400, "ram": 1_000_000},
        "filter_scheduler": {"enabled_filters": "ComputeFilter,ComputeCapabilitiesFilter,PciPassthroughFilter"},
        "pci": {
            "device_spec": json.dumps(GPU),
            "alias": json.dumps({**GPU, "name": "a100", "device_type": "type-PCI"}),
        },
        "keystone_authtoken": checked(places),
        "placement": client(places, "placement"),
        "glance": client(places, "glance"),
        "neutron": client(places, "neutron"),
        "service_user": account(places),
    }
