"""What every process of the broker holds: the settings, the database and Redis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from redis import Redis

from broker import settings as settings_module
from broker.database import Database
from broker.events import LivePages
from broker.settings import Settings
from broker.settings_file import SettingsFile


@dataclass(eq=False)
class Runtime:
    """One deployment, as seen by one process. `current()` is the process's own.

    `settings` are read at each use: `reread()` puts others in their place when the file has changed.
    """

    settings: Settings
    database: Database
    file: SettingsFile | None = None

    def reread(self) -> None:
        """Take what beamdesk.toml says now; where it cannot be used, all stays as it is."""
        if self.file is not None:
            self.settings = self.file.look()

    def settle(self) -> None:
        """As reread(), for a process that looks only when there is work to do."""
        if self.file is not None:
            self.settings = self.file.settle()

    @property
    def settings_problem(self) -> str | None:
        """Why the settings' file as it is now is not wholly in use."""
        return self.file.problem if self.file is not None else None

    @cached_property
    def redis(self) -> Redis:
        """A connection pool to Redis; every command has a time-out."""
        return Redis.from_url(self.settings.redis_url, socket_timeout=5, socket_connect_timeout=2)

    @property
    def live_channel(self) -> str:
        """The Redis channel of this deployment's live pages."""
        return f"beamdesk-{self.settings.deployment}-live"


def open_runtime(settings: Settings) -> Runtime:
    """Open the database and connect live pages; nothing is sent to Redis before the first change."""
    runtime = Runtime(settings, Database(settings.database_url))
    runtime.database.listeners.append(LivePages(settings.redis_url, runtime.live_channel))
    return runtime


def current() -> Runtime:
    """The runtime of this process, from the settings that BEAMDESK_CONFIG names, as they are now."""
    runtime = _opened()
    runtime.reread()
    return runtime


@cache
def _opened() -> Runtime:
    runtime = open_runtime(settings_module.load())
    runtime.file = SettingsFile(settings_module.path(), runtime.settings)
    return runtime
