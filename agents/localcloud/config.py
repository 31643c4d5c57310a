"""What the local cloud offers, from localcloud.toml; a mistake names the key, its value and what is allowed."""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


class CloudError(Exception):
    """Raised when the cloud cannot do what it was asked: HTTP status, a code, and what happened."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class ConfigError(Exception):
    """Raised when localcloud.toml cannot be used."""


@dataclass(frozen=True)
class Size:
    """What a node has; memory and disk in MB. The disk is memory too: it is a tmpfs."""

    id: str
    name: str
    cores: int
    memory_mb: int
    disk_mb: int
    gpus: int
    gpu_model: str


@dataclass(frozen=True)
class Named:
    """A location or an image."""

    id: str
    name: str


@dataclass(frozen=True)
class Config:
    """The whole file."""

    name: str
    subnet: ipaddress.IPv4Network
    max_nodes: int
    sizes: dict[str, Size]
    locations: dict[str, Named]
    images: dict[str, Named]


def load(path: Path) -> Config:
    """Read and check the file, or ConfigError."""
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    _keys(path, "", values, Config)
    return Config(
        name=_typed(path, "name", values["name"], str),
        subnet=_subnet(path, values["subnet"]),
        max_nodes=_typed(path, "max_nodes", values["max_nodes"], int),
        sizes=_table(path, "sizes", values["sizes"], Size),
        locations=_table(path, "locations", values["locations"], Named),
        images=_table(path, "images", values["images"], Named),
    )


def listed(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The table's entries as JSON wants them."""
    return [asdict(entry) for entry in table.values()]


def _subnet(path: Path, value: Any) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: subnet = {value!r}: {error}; give a private one, as 10.231.7.0/24") from None
    if not network.is_private or not 16 <= network.prefixlen <= 29:
        raise ConfigError(f"{path}: subnet = {value!r}: must be private and between /16 and /29")
    return network


def _table(path: Path, key: str, entries: Any, kind: Any) -> dict[str, Any]:
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: {key} = {entries!r}: must be a list of at least one table")
    found: dict[str, Any] = {}
    for number, entry in enumerate(entries):
        place = f"{key}[{number}]"
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: {place} = {entry!r}: must be a table")
        _keys(path, f"{place}.", entry, kind)
        for field in fields(kind):
            least = 0 if field.name == "gpus" else 1
            _typed(path, f"{place}.{field.name}", entry[field.name], {"str": str, "int": int}[str(field.type)], least)
        if entry["id"] in found:
            raise ConfigError(f"{path}: {place}.id = {entry['id']!r}: another one has this id; it must be unique")
        found[entry["id"]] = kind(**entry)
    return found


def _keys(path: Path, place: str, values: dict[str, Any], kind: Any) -> None:
    """All keys of the kind, and no others."""
    wanted = [field.name for field in fields(kind)]
    for name in values:
        if name not in wanted:
            raise ConfigError(f"{path}: {place}{name} = {values[name]!r}: no such key; allowed: {', '.join(wanted)}")
    for name in wanted:
        if name not in values:
            raise ConfigError(f"{path}: {place}{name} is missing")


def _typed(path: Path, key: str, value: Any, kind: type, least: int = 1) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not (number if kind is int else isinstance(value, str)):
        raise ConfigError(f"{path}: {key} = {value!r}: must be {'text' if kind is str else f'a number from {least}'}")
    return value
