"""The properties of machine types: from the settings to Ansible, to programs and to people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from broker.identity.service import Person
from broker.pools import configure, jobs
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import service
from broker.settings import Settings
from tests.conftest import FakeLauncher
from tests.integration.web.conftest import NewMachines, OpenAs
from tests.integration.web.served import serve
from web.app import create_app

GIVEN = {
    "clouds": ("ral", {"site": "RAL", "scratch": "/cloud", "disk": "cloud's", "who": "cloud"}),
    "sizes": ("small", {"scratch": "/size", "disk": "size's", "who": "size"}),
    "environments": ("light", {"disk": "environment's", "who": "environment"}),
    "pools": ("light-ral", {"who": "pool"}),
}
OF_LIGHT_RAL = {"site": "RAL", "scratch": "/size", "disk": "environment's", "who": "pool"}


@pytest.fixture
def given(runtime: Runtime) -> Runtime:
    """A deployment whose clouds, sizes, environments and pools all say something."""
    changed: dict[str, Any] = {}
    for table, (name, properties) in GIVEN.items():
        entries = getattr(runtime.settings, table)
        changed[table] = {**entries, name: entries[name].model_copy(update={"properties": properties})}
    return Runtime(runtime.settings.model_copy(update=changed), runtime.database)


@pytest.fixture
def site(given: Runtime) -> Iterator[str]:
    """It is this one that `open_as` opens."""
    with serve(create_app(given, FakeLauncher())) as address:
        yield f"http://{address}"


def test_the_nearer_word_counts(given: Runtime) -> None:
    """Cloud, size, environment, pool: each over the one before; what is no longer in the settings says nothing."""
    settings: Settings = given.settings
    assert settings.properties_of("ral", "small", "light", "light-ral") == OF_LIGHT_RAL
    assert settings.properties_of("ral", "small", "light", "gone")["who"] == "environment"
    assert settings.properties_of("gone", "gone", "gone", "gone") == {}


def test_ansible_is_given_them(given: Runtime, new_machines: NewMachines, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the variable `properties` of the machine's play."""
    (id_,) = new_machines("light-ral", 1, MachineState.CONFIGURING)
    told: dict[str, Any] = {}
    monkeypatch.setattr(configure.playbook, "configure", lambda *_, variables, **__: told.update(variables))
    monkeypatch.setattr(configure.doors, "lay", lambda *_: None)
    monkeypatch.setattr(jobs, "probe", lambda *_: None)
    with given.database.reading() as db:
        jobs.configure_machine.__wrapped__(given, db.get_one(Machine, id_))  # type: ignore[attr-defined]
    assert told["properties"] == OF_LIGHT_RAL


def test_programs_see_them_before_and_after_a_launch(given: Runtime, person: Person, new_machines: NewMachines) -> None:
    """Of each size that can be asked for, and of the machine that a session got."""
    new_machines("light-ral")
    client = create_app(given, FakeLauncher()).test_client()
    client.post("/api/v1/sign-in", json={"name": person.name, "password": f"{person.name}-secret"})
    light = next(each for each in client.get("/api/v1/environments").json if each["name"] == "light")
    assert light["properties"] == GIVEN["environments"][1]
    assert [size["properties"] for size in light["sizes"]] == [OF_LIGHT_RAL, GIVEN["environments"][1]]
    session = client.post("/api/v1/sessions", json={"environment": "light"}).json
    assert session["machine"]["properties"] == OF_LIGHT_RAL


def test_people_see_them_in_the_details(
    open_as: OpenAs, given: Runtime, person: Person, new_machines: NewMachines, make_ready: Callable[[int], None]
) -> None:
    """Of what can be launched and of a running desktop; closed until somebody wants to know."""
    new_machines("light-ral")
    make_ready(service.request(given, person, Wish("light")).id)
    page = open_as("alice")
    about = page.locator("#sessions").get_by_text("About this machine")
    scratch = page.locator("#sessions dd", has_text="/size")
    expect(scratch).to_be_hidden()
    about.focus()
    page.keyboard.press("Enter")
    expect(scratch).to_be_visible()
    card = page.locator("#environment-light")
    card.get_by_text("Options").click()
    expect(card.locator("dl")).to_contain_text("environment's")
    expect(card.get_by_role("row").filter(has_text="Harwell")).to_contain_text("scratch: /size")
    expect(card.get_by_role("row").filter(has_text="Daresbury")).not_to_contain_text("scratch")
