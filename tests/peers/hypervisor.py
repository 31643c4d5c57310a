"""libvirt's own test driver: domains, networks and volumes as libvirt has them, with nothing behind them.

Two things that it lacks are fakes here: what is uploaded to a volume is kept in a list, and a guest's agent.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from tests.peers.wires import CONSOLE

SYSTEMS = "/usr/lib/python3/dist-packages"  # where Debian's python3-libvirt is
URI, POOL = "test:///default", "default-pool"
IMAGE = "<volume><name>desktop-1</name><capacity>4096</capacity><target><format type='qcow2'/></target></volume>"


def bindings() -> Any:
    """libvirt's Python module: the environment's, or else the system's."""
    try:
        return importlib.import_module("libvirt")
    except ImportError:
        sys.path.append(SYSTEMS)
    try:
        return importlib.import_module("libvirt")
    except ImportError as error:
        raise AssertionError(f"libvirt's Python bindings are missing ({error}): run `make setup`") from None
    finally:
        sys.path.remove(SYSTEMS)


@contextmanager
def hypervisor() -> Iterator[list[bytes]]:
    """The test driver with an image in its pool; what is uploaded to volumes."""
    libvirt, uploaded = bindings(), []

    def send_all(stream: Any, read: Any, opaque: Any) -> None:
        uploaded.append(read(stream, 1 << 20, opaque))

    agent = SimpleNamespace(qemuAgentCommand=lambda _domain, asked, _timeout, _flags: _agent(json.loads(asked)))
    with ExitStack() as patches:
        patches.enter_context(patch.object(libvirt.virStorageVol, "upload", lambda *_: 0))
        patches.enter_context(patch.object(libvirt.virStream, "sendAll", send_all))
        patches.enter_context(patch.object(libvirt.virStream, "finish", lambda *_: 0))
        patches.enter_context(patch.dict(sys.modules, libvirt_qemu=agent))
        connection = libvirt.open(URI)
        image = connection.storagePoolLookupByName(POOL).createXML(IMAGE, 0)
        yield uploaded
        image.delete(0)
        connection.close()


def _agent(asked: dict[str, Any]) -> str:
    """As QEMU's guest agent answers."""
    key = CONSOLE.splitlines()[1].encode()
    answers = {
        "guest-file-open": 1000,
        "guest-file-read": {"count": len(key), "buf-b64": base64.b64encode(key).decode(), "eof": True},
        "guest-file-close": {},
    }
    return json.dumps({"return": answers[asked["execute"]]})
