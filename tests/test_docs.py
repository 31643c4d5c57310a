"""The documentation says what is true: an undocumented setting, command, package or error code fails here."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from broker import errors
from broker.cli import main
from broker.clouds import azure, ec2, gce, libvirt, local, opennebula, openstack
from broker.clouds.adapter import DRIVERS
from broker.clouds.options import Options
from broker.settings import CloudDriver, Policy, ProviderSettings, Settings
from tests.conformance.clouds.matrix import MODULE, matrix
from tests.conformance.clouds.subjects import PROOFS, SUBJECTS
from tests.made import parts
from web.portal.docs import explained

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def error_classes(package: str, base: type[errors.BrokerError] = errors.BrokerError) -> list[type[errors.BrokerError]]:
    """The errors below `base` that modules of `package` define, whether a test has imported them or not."""
    top = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(top, "__path__", []), f"{package}."):
        if ".migrations." not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    below = [kind for child in base.__subclasses__() for kind in (child, *error_classes(package, child))]
    return [kind for kind in below if f"{kind.__module__}.".startswith(f"{package}.")]


@pytest.mark.parametrize("kind", error_classes("broker.errors"), ids=lambda kind: kind.code)
def test_every_error_is_in_the_tree_with_its_status_and_code(kind: type[errors.BrokerError]) -> None:
    """The error tree at the top of broker/errors.py is complete."""
    assert any(
        kind.__name__ in line and f"{kind.status} {kind.code}" in line for line in (errors.__doc__ or "").splitlines()
    )


def test_every_error_is_explained_and_nothing_else() -> None:
    """docs/errors.md has one row for each code, with its status, in the order of both; no advice is empty."""
    raised = sorted((kind.status, kind.code) for package in ("broker", "web") for kind in error_classes(package))
    assert [(row.status, row.code) for row in explained()] == raised
    assert all(row.meaning.endswith(".") and row.advice.endswith(".") for row in explained())


@pytest.mark.parametrize(("document", "least"), [("regressions.md", 30), ("security.md", 20)])
def test_every_promise_is_held_by_a_test_that_exists(document: str, least: int) -> None:
    """Each row of a table that says what a behaviour or a threat is held by ends with one."""
    tables = re.findall(r"^\|.* held by \|\n\|[-|]+\|\n((?:\|.*\n)+)", (DOCS / document).read_text(), re.MULTILINE)
    rows = "".join(tables).splitlines()
    assert len(rows) >= least
    for row in rows:
        named = re.search(r"\| `(tests/\S+\.py)::(test_\w+)` \|$", row)
        assert named, row
        assert f"def {named[2]}(" in (ROOT / named[1]).read_text(), row


PARTS = ("name", "policy")  # an entry's own name, and a table within it


def documented_keys() -> dict[str, FieldInfo]:
    """Each key of beamdesk.toml, as docs/settings.md writes it."""
    found: dict[str, FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        kind, table = field.annotation, (get_args(field.annotation) or (None,))[-1]
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= {f"{name}.{key}": each for key, each in kind.model_fields.items() if key != "providers"}
        elif isinstance(table, type) and issubclass(table, BaseModel):
            entry = "GROUP" if name == "quotas" else "NAME"
            found |= {f"{name}.{entry}.{key}": each for key, each in table.model_fields.items() if key not in PARTS}
        elif kind is None or get_args(kind) == ():
            found[name] = field
    more = {"identity.providers.NAME": ProviderSettings, "environments.NAME.policy": Policy}
    return found | {f"{table}.{key}": each for table, kind in more.items() for key, each in kind.model_fields.items()}


def as_toml(default: object) -> str:
    """A default, as docs/settings.md writes it."""
    if default is None:
        return "none"
    if isinstance(default, tuple):
        return f"`[{', '.join(map(str, default))}]`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{str(default)!r}`" if isinstance(default, (str, Path)) else f"`{default}`"


def test_every_setting_is_documented_with_its_default() -> None:
    """docs/settings.md has a row for each key, and no other."""
    text = (DOCS / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+(?:\.[A-Za-z_]+)*)` \| (.+?) \|", text, re.MULTILINE))
    known = documented_keys()
    assert set(rows) == set(known)
    for key, field in known.items():
        default = "required" if field.is_required() else as_toml(field.get_default(call_default_factory=True))
        own = {"clouds.NAME.list_every": "`times.list_every`"}  # where it says nothing, another key counts
        assert rows[key].startswith(own.get(key, default)), key


@pytest.mark.parametrize(
    "options",
    [
        *(azure.AzureOptions, ec2.Ec2Options, gce.GceOptions, local.LocalOptions),
        *(libvirt.LibvirtOptions, opennebula.OpenNebulaOptions, openstack.OpenStackOptions),
    ],
    ids=lambda options: options.__name__,
)
def test_every_option_of_a_cloud_is_documented(options: type[Options]) -> None:
    """docs/clouds.md has each in a row of its driver, and no other."""
    driver = next(driver for driver, (_, kind) in DRIVERS.items() if options.__name__ == f"{kind[:-5]}Options")
    rows = [
        line.split("|") for line in (DOCS / "clouds.md").read_text().splitlines() if line.startswith(f"| {driver} | `")
    ]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row[2])} == set(options.model_fields)


def test_every_driver_is_held_to_the_promises() -> None:
    """None is offered of which nobody can say what was proved."""
    assert {proof.driver for proof in PROOFS.values()} == set(get_args(CloudDriver)) == set(DRIVERS)
    assert set(PROOFS) == set(SUBJECTS)


def test_what_was_proved_of_each_cloud_is_as_the_promises_have_it() -> None:
    """docs/clouds.md is what `python -m tests.conformance.clouds.matrix --write` makes."""
    assert parts((DOCS / "clouds.md").read_text(), MODULE)[1] == matrix()


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_is_documented(command: str) -> None:
    """docs/operators.md names each command, and each says what it does."""
    assert command in (DOCS / "operators.md").read_text()
    assert main.commands[command].help


def test_every_dependency_has_its_reason() -> None:
    """docs/dependencies.md names each package that we ask for."""
    text = (DOCS / "dependencies.md").read_text().lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    wanted += json.loads((ROOT / "package.json").read_text())["dependencies"]
    wanted += json.loads((ROOT / "tests/peers/oidc/package.json").read_text())["devDependencies"]
    for package in wanted:
        assert package.split("[")[0].lower() in text, package


def test_the_demos_settings_are_good() -> None:
    """beamdesk.toml, the commented example, can be used as it is."""
    assert Settings.model_validate(tomllib.loads((ROOT / "beamdesk.toml").read_text())).pools
