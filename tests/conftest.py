"""What most tests need: a private Redis, small settings, a database with its tables, and people."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from playwright.sync_api import Browser, BrowserType
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from broker.database import Base, Database
from broker.identity import service as identity
from broker.identity.rights import Role
from broker.identity.service import Person, create_account
from broker.runtime import Runtime, open_runtime
from broker.settings import DatabaseSettings, Settings
from tests.browsers import WHOLE, WINDOWLESS, browsers, started
from tests.parsing import take_turns
from tests.servers import private_postgresql, private_redis

SETTINGS = """
deployment = "test"
[times]
probe_every = 60
[clouds.ral]
title = "Harwell"
driver = "beamdesk-local"
location = "ral"
image = "host"
[clouds.dl]
title = "Daresbury"
driver = "beamdesk-local"
location = "dl"
image = "host"
[sizes.small]
cores = 1
memory_gb = 1.5
[sizes.big]
cores = 4
memory_gb = 8
gpus = 1
gpu_model = "Test GPU"
[environments.light]
title = "Light desktop"
description = "A terminal."
roles = ["light"]
[environments.science]
title = "Scientific Python"
description = "Plots."
roles = ["science"]
[environments.secret]
title = "Secret"
description = "For few."
roles = ["science"]
groups = ["few"]
[policies.nothing-out]
groups = ["nothing-out"]
clipboard_out = false
files_out = false
printing = false
audio = false
[policies.nothing-in]
groups = ["nothing-in"]
clipboard_in = false
files_in = false
[pools.light-ral]
environment = "light"
size = "small"
cloud = "ral"
target = 2
limit = 6
[pools.light-dl]
environment = "light"
size = "big"
cloud = "dl"
target = 1
limit = 3
[pools.science-ral]
environment = "science"
size = "big"
cloud = "ral"
target = 1
limit = 2
"""


take_turns()

# Folders whose tests share machines of one network: each runs in one process.
TOGETHER = ("journeys", *(f"integration/{name}" for name in ("demo", "localcloud", "machine")))
CLOUDS = "conformance/clouds"
# What takes longest is begun with; of what is named twice, the longer name counts.
LONGEST = (
    "journeys",
    "integration/machine",
    f"{CLOUDS} openstack",
    "integration/gateways/test_ssh_closing.py",
    f"{CLOUDS} ec2",
    "integration/web/test_openapi.py",
    "integration/demo",
    "integration/web/test_pages.py",
    "integration/audit/test_sealing.py",
    "integration/gateways",
    "integration/localcloud",
    "integration/web",
    "integration",
    "integration/gateways/test_slow_links.py",  # measures the link, which a busy machine makes slower than it is
)


def together(nodeid: str) -> str:
    """What runs in one process: a folder's tests where they share machines, a cloud's, or those of a file."""
    file, _, test = nodeid.removeprefix("tests/").partition("::")
    folder = file.rpartition("/")[0]
    if folder == CLOUDS and (subject := re.search(r"[\[-](local|openstack|ec2)\b", test)):
        return f"{folder} {subject[1]}"
    return folder if folder in TOGETHER else file


class InTurn(LoadScopeScheduling):
    """Gives each process the next group of tests."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> InTurn:
    """Called by pytest-xdist."""
    return InTurn(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""

    def place(item: pytest.Item) -> int:
        group = together(item.nodeid)
        return max((len(name), n) for n, name in enumerate((*LONGEST, "")) if group.startswith(name))[1]

    items.sort(key=place)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The Redis of this test run."""
    with private_redis() as (url, _):
        yield url
        logging.getLogger("socketio.server").disabled = True  # its listeners outlive the tests by a moment


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The PostgreSQL of this test run."""
    with private_postgresql(fsync=False) as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Small settings with two clouds and three environments; everything they name lies in a folder of the test's."""
    config = tmp_path / "beamdesk.toml"
    config.write_text(f'state_dir = "{tmp_path}"\n{SETTINGS}\n[redis]\nurl = "{redis_url}"\n')
    monkeypatch.setenv("BEAMDESK_CONFIG", str(config))
    return Settings()


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with its tables, to copy: to make them takes longer than most tests do."""
    file = tmp_path_factory.mktemp("tables") / "tables.sqlite"
    database = Database(f"sqlite:///{file}")
    Base.metadata.create_all(database.engine)
    database.close()
    return file


@pytest.fixture
def runtime(settings: Settings, tables: Path) -> Iterator[Runtime]:
    """A deployment with its tables and an empty Redis."""
    opened = open_runtime(settings)
    opened.redis.flushall()
    shutil.copy(tables, str(opened.database.engine.url.database))
    yield opened
    opened.database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def each_runtime(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Runtime]:
    """The deployment on each of the databases, for what depends on their locks."""
    if request.param == "sqlite":
        yield request.getfixturevalue("runtime")
        return
    own = settings.model_copy(update={"database": DatabaseSettings(url=request.getfixturevalue("postgresql_url"))})
    opened = open_runtime(own)
    opened.redis.flushall()
    Base.metadata.drop_all(opened.database.engine)
    Base.metadata.create_all(opened.database.engine)
    yield opened
    opened.database.close()


@pytest.fixture(scope="session", name="browsers")
def playwrights_browsers() -> Iterator[BrowserType]:
    """What starts Chromium."""
    with browsers() as made:
        yield made


@pytest.fixture(scope="session")
def chromium(browsers: BrowserType) -> Iterator[Browser]:
    """The system's Chromium, one for all tests."""
    with started(browsers, WHOLE) as browser:
        yield browser


@pytest.fixture(scope="session")
def windowless_chromium(browsers: BrowserType) -> Iterator[Browser]:
    """The one without windows: for pages that are opened by the dozen."""
    with started(browsers, WINDOWLESS) as browser:
        yield browser


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with its least cost: most of the tests' time would be spent on being slow on purpose."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(identity, "_hasher", lambda: hasher)


class FakeLauncher:
    """Remembers what it was asked to prepare, and prepares nothing: there is no machine behind these rows."""

    def __init__(self) -> None:
        self.started: list[int] = []

    def start(self, session_id: int) -> None:
        self.started.append(session_id)


NewPerson = Callable[..., Person]


@pytest.fixture
def new_person(runtime: Runtime) -> NewPerson:
    """Makes an account: `new_person("bob", admin=True)`; its password is its name and "-secret"."""

    def make(name: str, *, admin: bool = False, groups: tuple[str, ...] = ()) -> Person:
        role = Role.ADMIN if admin else Role.USER
        return create_account(runtime, name, name.title(), f"{name}-secret", role=role, groups=groups)

    return make


@pytest.fixture
def person(new_person: NewPerson) -> Person:
    """Alice, a user."""
    return new_person("alice")
