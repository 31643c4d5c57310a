"""Images that were saved from machines: what a machine wrote over its base image, without what made it that machine.

An image is a folder: `usr` is the upper layer of the machine's /usr, and lies over the base image's as a lower one;
`etc`, `opt`, `srv` and `var` are copied into each new machine. It is complete as soon as it has its name.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.localcloud import machine
from agents.localcloud.config import CloudError
from agents.localcloud.inside import SHOWN_OF_VAR

TREES = ("etc", "opt", "srv", "var")
# A machine's own, whoever cleaned it before: each new one makes them afresh.
OWN = (
    *("etc/machine-id", "etc/hostname", "etc/hosts"),
    *("var/log", "var/tmp", "var/mail", "var/spool", "var/cache", "var/run", "var/lock", "var/lib/dbus"),
)
# What the host itself goes through, or reads, when it makes a machine: a link there could lead it to its own files.
FOLDERS = (*TREES, "etc/ssh", "etc/ssh/sshd_config.d", "var/lib", "var/cache")
FILES = ("etc/passwd", "etc/group")
SPARE = 256 << 20  # bytes of the disk that are left alone


class Images:
    """The saved images of one state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        for half in folder.glob(".*"):  # of a daemon that was killed
            shutil.rmtree(half)

    def all(self) -> dict[str, dict[str, Any]]:
        """All that are whole, by id: not drafts, and not those that are being removed, whose names begin with a dot."""
        found = [json.loads(path.read_text()) for path in sorted(self.folder.glob("i-*/image.json"))]
        return {image["id"]: image for image in found}

    def path(self, id_: str) -> Path:
        """Where the image lies."""
        return self.folder / id_

    def save(self, node: Path, pid: int, record: dict[str, Any]) -> dict[str, Any]:
        """Keep what the machine in the folder `node` wrote; it stands still meanwhile."""
        disk = node / "disk"
        self._must_hold(disk)
        id_ = f"i-{secrets.token_hex(6)}"
        draft = self.folder / f".{id_}"
        draft.mkdir(mode=0o700)
        try:
            with machine.standing_still(pid):
                machine.run("cp", "-a", disk / "usr-upper", draft / "usr")
                machine.run("cp", "-a", *(disk / "root" / tree for tree in TREES), draft)
            _must_be_plain(draft)
            _forget(draft)
            image = {"id": id_, **record, "created_at": datetime.now(UTC).isoformat()}
            (draft / "image.json").write_text(json.dumps(image))
            draft.rename(self.path(id_))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return image

    def _must_hold(self, disk: Path) -> None:
        has = os.statvfs(disk)
        needed, free = (has.f_blocks - has.f_bfree) * has.f_frsize, shutil.disk_usage(self.folder).free
        if needed + SPARE > free:
            said = f"the image takes {needed >> 20} MB, and the host's disk has {free >> 20} MB left"
            raise CloudError(507, "full", f"{said}, of which {SPARE >> 20} MB stay free")

    def drop(self, id_: str) -> Path:
        """Take the image from the list; the folder that is left is the caller's to remove."""
        gone = self.folder / f".{id_}.{secrets.token_hex(3)}"
        self.path(id_).rename(gone)
        return gone


def _must_be_plain(image: Path) -> None:
    for name in (*FOLDERS, *FILES):
        kind = (image / name).lstat().st_mode
        if not (stat.S_ISREG(kind) if name in FILES else stat.S_ISDIR(kind)):
            raise CloudError(
                409, "bad-tree", f"/{name} of this node is no plain {'file' if name in FILES else 'folder'}"
            )


def _forget(image: Path) -> None:
    for path in (*(image / each for each in OWN), *(image / "etc/ssh").glob("ssh_host_*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for shown in SHOWN_OF_VAR:
        shutil.rmtree(image / "var" / shown, ignore_errors=True)
