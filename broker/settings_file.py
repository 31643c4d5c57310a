"""beamdesk.toml under a running process: read again when it changes, and used where it is good."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

from broker import settings as settings_module
from broker.errors import BadSettings
from broker.settings import Settings

log = structlog.get_logger()

LOOK_EVERY = 1.0  # seconds
RESTS_AFTER = 2.0  # seconds
SETTLES_WITHIN = 5.0  # seconds
# What a process is built on: a change of these takes effect when it is started again.
FIXED = ("deployment", "state_dir", "database", "redis", "web", "gateway", "rdp", "ssh")


class SettingsFile:
    """The file of a process; `settings` are those in use, `problem` says why the file as it is now is not.

    A cloud that was taken out is kept, without pools, until the process ends: machines that are still there are
    removed by its old entry.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        self.problem: str | None = None
        self._read_at = self._seen = self._now()
        self._looked_at = time.monotonic()

    def look(self) -> Settings:
        """The settings in use, read anew where the file changed since.

        A change counts when it has rested for a while, or when two looks find it alike: half a file, as an editor
        writes it, may look like a good one.
        """
        if time.monotonic() - self._looked_at >= LOOK_EVERY:
            self._looked_at = time.monotonic()
            before, self._seen = self._seen, self._now()
            if self._seen != self._read_at and (self._seen == before or self._rests()):
                self._read_at = self._seen
                self._read()
        return self.settings

    def _rests(self) -> bool:
        """Whether what was seen was written some time ago, by the clock that the file has its time from."""
        return self._seen is not None and time.time() - self._seen[0] / 1e9 >= RESTS_AFTER

    def settle(self) -> Settings:
        """As look(), for a process that seldom looks: where the file changed, wait until it does so no more."""
        deadline = time.monotonic() + SETTLES_WITHIN
        while self._now() != self._read_at and time.monotonic() < deadline:
            self.look()
            time.sleep(LOOK_EVERY / 4)
        return self.settings

    def _now(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> None:
        try:
            fresh = settings_module.load(self.path)
        except BadSettings as error:
            self.problem = f"{error.message} The settings of before are in use."
            log.warning("settings.refused", why=error.message)
            return
        before = self.settings
        waiting = [key for key in FIXED if getattr(fresh, key) != getattr(before, key)]
        gone = {name: cloud for name, cloud in before.clouds.items() if name not in fresh.clouds}
        kept = {key: getattr(before, key) for key in FIXED}
        self.settings = fresh.model_copy(update={**kept, "clouds": {**fresh.clouds, **gone}}).without(gone)
        self.problem = None
        if waiting:
            self.problem = f"Changes of {', '.join(waiting)} take effect when Beamdesk is started again."
        log.info("settings.read", path=str(self.path), waiting=waiting)
