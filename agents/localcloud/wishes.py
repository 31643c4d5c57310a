"""What may be asked of the cloud. All of a wish is looked at before anything is changed."""

from __future__ import annotations

import re
from typing import Any

from agents.localcloud.config import CloudError, Config

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
HOME = re.compile(r"/home/[A-Za-z0-9_][A-Za-z0-9._-]{0,62}")
OWNERS = range(1000, 2**32 - 1)
DIALLED = re.compile(r"\d{1,3}(\.\d{1,3}){3}:\d{1,5}")
DIAL_FILE = re.compile(r"/etc/beamdesk/tunnel/[a-z_]{1,40}")


def check_node(config: Config, images: dict[str, Any], wish: dict[str, Any]) -> None:
    """A node that this cloud can make, or CloudError."""
    for key, known in (("size", config.sizes), ("image", images), ("location", config.locations)):
        value = wish.get(key)
        if not isinstance(value, str) or value not in known:
            raise CloudError(400, f"no-{key}", f"no such {key}: {value!r}; there are {', '.join(known)}")
    if not _matches(NAME, wish.get("name")):
        raise CloudError(400, "bad-name", f"name = {wish.get('name')!r}: must be letters, digits, . _ - (at most 63)")
    authority = wish.get("ssh_ca")
    if not isinstance(authority, str) or not all(map(_is_key, authority.split("\n"))):
        raise CloudError(400, "bad-key", "ssh_ca must be OpenSSH public keys, a line each")
    request = wish.get("request_id")
    if request is not None and not (isinstance(request, str) and 0 < len(request) <= 255):
        raise CloudError(400, "bad-request-id", "request_id must be a text of at most 255 characters, or null")
    check_tags(wish.get("tags"))
    if wish.get("dial") is not None:
        check_dial(wish["dial"])


def check_dial(dial: Any) -> None:
    """Where a node dials that nobody reaches, and its files for that; or CloudError."""
    files = dial.get("files") if isinstance(dial, dict) else None
    if not isinstance(files, dict) or not _matches(DIALLED, dial.get("to")) or not _is_address(dial["to"]):
        raise CloudError(400, "bad-dial", "dial needs `to`, an IPv4 address and port of the host, and `files` by path")
    if not all(_matches(DIAL_FILE, path) and isinstance(text, str) for path, text in files.items()):
        raise CloudError(400, "bad-dial", "dial.files must be texts, and lie in /etc/beamdesk/tunnel")


def _is_address(to: str) -> bool:
    address, _, port = to.partition(":")
    return all(int(part) < 256 for part in address.split(".")) and 0 < int(port) < 65536


def check_tags(tags: Any) -> None:
    """Texts by name, or CloudError."""
    if not isinstance(tags, dict) or not all(isinstance(x, str) and len(x) <= 255 for kv in tags.items() for x in kv):
        raise CloudError(400, "bad-tags", "tags must be texts by name, of at most 255 characters each")


def check_image(wish: dict[str, Any]) -> str:
    """The new image's name, or CloudError."""
    if not _matches(NAME, wish.get("name")):
        raise CloudError(400, "bad-name", f"name = {wish.get('name')!r}: must be letters, digits, . _ - (at most 63)")
    check_tags(wish.get("tags"))
    return str(wish["name"])


def check_volume(wish: dict[str, Any]) -> tuple[str, int]:
    """The volume's name and owner, or CloudError."""
    name, owner = wish.get("name"), wish.get("owner")
    if not _matches(NAME, name) or not isinstance(owner, int) or owner not in OWNERS:
        raise CloudError(400, "bad-volume", "a volume needs a name, and an owner's number from 1000")
    return str(name), owner


def check_path(path: Any) -> str:
    """Where a volume may be shown, or CloudError."""
    if not _matches(HOME, path):
        raise CloudError(400, "bad-path", f"path = {path!r}: a volume is attached at /home/NAME")
    return str(path)


def _is_key(line: str) -> bool:
    return line.isprintable() and line.startswith(("ssh-", "ecdsa-", "sk-"))


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
