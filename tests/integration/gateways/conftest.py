"""The screen and the gateway that these tests share; a gateway of its own for a test that ends or fills it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from agents.machine.seat import RDP_PORT, RDP_PORT_WITHOUT_CLIPBOARD
from agents.protocol import RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, SOUND_DOOR, VNC_DOOR
from tests.doors import doors
from tests.integration.gateways.lab import ADDRESS, HASTY, LEAVES, SOUND, Desk, Lab, Screen, vnc_server
from tests.integration.gateways.portal import Portal, portal_of
from tests.integration.gateways.rdp_lab import RDP
from tests.integration.gateways.rdp_peers import MACHINE, NEIGHBOUR


@pytest.fixture(scope="session", autouse=True)
def _doors() -> Iterator[None]:
    """The machines' doors, whether anything is behind them or not."""
    vnc = [((address, VNC_DOOR), (address, 5901)) for address in (ADDRESS, LEAVES)]
    rdp = [((address, RDP_DOOR), (address, RDP_PORT)) for address in (ADDRESS, MACHINE, NEIGHBOUR)]
    without = [((each, RDP_DOOR_WITHOUT_CLIPBOARD), (each, RDP_PORT_WITHOUT_CLIPBOARD)) for each in (ADDRESS, MACHINE)]
    with doors(*vnc, *rdp, *without, ((ADDRESS, SOUND_DOOR), (ADDRESS, SOUND))):
        yield


@pytest.fixture(scope="session")
def screen() -> Iterator[Screen]:
    """A machine's screen."""
    with vnc_server() as started:
        yield started


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory, redis_url: str, screen: Screen) -> Iterator[Lab]:
    """The gateway that most tests share."""
    with closing(Lab(tmp_path_factory.mktemp("gateway"), redis_url)) as made:
        yield made


@pytest.fixture(scope="package")
def hasty_lab(tmp_path_factory: pytest.TempPathFactory, redis_url: str, screen: Screen) -> Iterator[Lab]:
    """A gateway that waits for seconds where the other one waits for a minute."""
    with closing(Lab(tmp_path_factory.mktemp("hasty"), redis_url, command=[sys.executable, "-c", HASTY])) as made:
        yield made


@pytest.fixture
def hasty_desk(hasty_lab: Lab) -> Iterator[Desk]:
    """Alice's ready session, at the hasty gateway."""
    with closing(hasty_lab.desk()) as made:
        yield made


@pytest.fixture
def desk(lab: Lab) -> Iterator[Desk]:
    """Alice's ready session, at the shared gateway."""
    with closing(lab.desk()) as made:
        yield made


@pytest.fixture
def own_lab(tmp_path: Path, redis_url: str, screen: Screen) -> Iterator[Callable[..., Lab]]:
    """`own_lab(connections=2)`: a gateway of the test's own, with these settings."""
    made: list[Lab] = []

    def make(**settings: Any) -> Lab:
        made.append(Lab(tmp_path, **{"redis_url": redis_url, **settings}))
        return made[-1]

    yield make
    for started in made:
        started.close()


@pytest.fixture
def portal(own_lab: Callable[..., Lab], chromium: Browser) -> Iterator[Portal]:
    """A portal beside a gateway of the test's own, and browsers for it."""
    with portal_of(own_lab, chromium) as made:
        yield made


@pytest.fixture(scope="package")
def _desktops(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, screen: Screen, chromium: Browser
) -> Iterator[Portal]:
    with portal_of(lambda: Lab(tmp_path_factory.mktemp("desktops"), redis_url), chromium) as made:
        yield made
        made.lab.close()


@pytest.fixture
def desktops(_desktops: Portal) -> Iterator[Portal]:
    """A portal and its gateway, for all tests of the desktop's page that change nobody's account; its browsers are
    closed after each."""
    yield _desktops
    _desktops.close()


@pytest.fixture
def own_rdp(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Callable[..., Lab]]:
    """`own_rdp(connections=2)`: an RDP gateway of the test's own, with these settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            closing(Lab(tmp_path_factory.mktemp("rdp"), redis_url, command=RDP, section="rdp", **settings))
        )
