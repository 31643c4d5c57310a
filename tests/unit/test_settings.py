"""Settings that cannot be used: each mistake is named by its key, its value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import BadSettings
from broker.settings import load

GOOD = """
[clouds.ral]
title = "Harwell"
driver = "beamdesk-local"
location = "ral"
image = "host"
[sizes.small]
cores = 1
memory_gb = 2
[environments.light]
title = "Light"
description = "A terminal."
roles = ["light"]
[pools.p]
environment = "light"
size = "small"
cloud = "ral"
target = 1
limit = 2
"""

PROVIDER = """[identity.providers.x]
title = "X"
issuer = "https://id.example"
client_id = "beamdesk"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good settings file."""
    path = tmp_path / "beamdesk.toml"
    path.write_text(GOOD)
    monkeypatch.setenv("BEAMDESK_CONFIG", str(path))
    return path


def test_a_good_file_is_read(config: Path) -> None:
    """What the other tests break is whole."""
    assert load(config).pools["p"].limit == 2


@pytest.mark.parametrize(
    ("line", "broken", "words"),
    [
        ("cores = 1", "cores = 0", ["sizes.small.cores = 0", "greater than or equal to 1"]),
        ("cores = 1", "cores = 'many'", ["sizes.small.cores = 'many'", "must be a valid integer"]),
        ("cores = 1", "core = 1", ["sizes.small.core: no such key", "cores", "sizes.small.cores: is missing"]),
        ("limit = 2", "limit = 0", ["pools.p", "limit must be at least target (1)"]),
        ('size = "small"', 'size = "huge"', ["pools.p.size = 'huge'", "no such size; there are small"]),
        (
            'roles = ["light"]',
            'roles = []\nbase = "x"',
            ["environments.light.base = 'x'", "no such base; there are none"],
        ),
        ('roles = ["light"]', 'roles = []\n[bases.light]\ntitle = ""\nroles = []', ["bases.light: an environment has"]),
        ('cloud = "ral"', 'cloud = "mars"', ["pools.p.cloud = 'mars'", "no such cloud; there are ral"]),
        (
            "beamdesk-local",
            "vsphere",
            ["clouds.ral.driver = 'vsphere'", "must be 'azure', 'beamdesk-local', 'ec2',", "or 'openstack'"],
        ),
        ('roles = ["light"]', "", ["environments.light.roles: is missing"]),
        ("[clouds.ral]", "[web]\nlisten = '8080'\n[clouds.ral]", ["web.listen = '8080'", "must match"]),
        ("[clouds.ral]", "[limits]\nsesions = 3\n[clouds.ral]", ["limits.sesions: no such key", "sessions_per_user"]),
        ("[clouds.ral]", "colour = 'red'\n[clouds.ral]", ["colour: no such key", "deployment"]),
        ("[clouds.ral]", "[clouds.ral", ["is not valid TOML", "line 2"]),
        (
            "[clouds.ral]",
            "[leases]\ndefault_hours = 200\n[clouds.ral]",
            ["default_hours = 200", "maximum_hours"],
        ),
        ("[clouds.ral]", "[rdp]\ntls = 'none'\n[clouds.ral]", ["rdp.tls = 'none'", "'machine' or 'gateway'"]),
        ("[clouds.ral]", "[rdp]\ntls = 'gateway'\n[clouds.ral]", ['tls = "gateway" needs certificate and key']),
        ("[clouds.ral]", "[rdp]\nsigning_key = 'k'\n[clouds.ral]", ["signing_certificate and signing_key need"]),
        ("[clouds.ral]", "[rdp]\npublic_address = 'x'\n[clouds.ral]", ["rdp.public_address = 'x'", "must match"]),
        ("[clouds.ral]", "[identity]\nlocal_accounts = false\n[clouds.ral]", ["identity", "nobody could sign in"]),
        (
            "[clouds.ral]",
            f"{PROVIDER}client_secret = 'x'\n[clouds.ral]",
            ["identity.providers.x.client_secret: no such key", "client_secret_file", "issuer"],
        ),
        ("[clouds.ral]", f"{PROVIDER}[clouds.ral]", ["identity.providers.x", "give one of client_secret_file"]),
        (
            "[clouds.ral]",
            f"{PROVIDER.replace('https', 'http')}client_secret_env = 'X'\n[clouds.ral]",
            ["identity.providers.x", "issuer must begin with https://"],
        ),
        (
            "[clouds.ral]",
            f"{PROVIDER}client_secret_env = 'X'\nscopes = ['email']\n[clouds.ral]",
            ["identity.providers.x", 'scopes must have "openid"'],
        ),
        (
            "[clouds.ral]",
            f"{PROVIDER}client_secret_env = 'X'\n{PROVIDER.replace('.x]', '.y]')}client_secret_env = 'X'\n[clouds.ral]",
            ["identity", "an issuer of its own"],
        ),
        ("[clouds.ral]", "[vmm.types]\n7 = 'q'\n[clouds.ral]", ["vmm.types.7 = 'q'", "no such pool; there are p"]),
    ],
)
def test_a_mistake_is_named_with_its_value_and_what_is_allowed(
    config: Path, line: str, broken: str, words: list[str]
) -> None:
    """And the file that holds it."""
    config.write_text(GOOD.replace(line, broken, 1))
    with pytest.raises(BadSettings) as refused:
        load(config)
    for part in (str(config), *words):
        assert part in refused.value.message
    assert refused.value.hint


def test_a_warning_of_idleness_is_shorter_than_the_idle_time_that_it_belongs_to(config: Path) -> None:
    """Of [leases] and of an environment, which takes what it does not say itself from [leases]; 0 hours is never."""
    config.write_text(GOOD + "[leases]\nidle_hours = 0.5\nidle_warn_minutes = 30\n")
    with pytest.raises(BadSettings, match=r"leases\.idle_warn_minutes = 30: must be less than idle_hours = 0\.5"):
        load(config)
    own = GOOD.replace('roles = ["light"]', 'roles = ["light"]\nidle_hours = 0.2')
    config.write_text(own)
    with pytest.raises(BadSettings, match=r"environments\.light\.idle_warn_minutes = 15: must be less than"):
        load(config)
    config.write_text(own.replace("idle_hours = 0.2", "idle_hours = 0") + "[leases]\nidle_hours = 4\n")
    assert load(config).idle_times("light") == (0, 0.25)
    assert load(config).idle_times("another") == (4, 0.25)


def test_all_mistakes_are_named_at_once(config: Path) -> None:
    """Nobody mends a file line by line and start by start."""
    config.write_text(GOOD.replace("cores = 1", "cores = 0").replace("limit = 2", "limit = -2"))
    with pytest.raises(BadSettings) as refused:
        load(config)
    assert "sizes.small.cores = 0" in refused.value.message
    assert "pools.p.limit = -2" in refused.value.message


def test_a_mistake_in_the_environment_is_named_too(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is wrong, and a name that is no setting."""
    monkeypatch.setenv("BEAMDESK_LIMITS__SESSIONS_PER_USER", "few")
    with pytest.raises(BadSettings, match=r"limits\.sessions_per_user = 'few': must be a valid integer"):
        load(config)
    monkeypatch.delenv("BEAMDESK_LIMITS__SESSIONS_PER_USER")
    monkeypatch.setenv("BEAMDESK_TITEL", "Desks")
    with pytest.raises(BadSettings, match="BEAMDESK_TITEL in the environment is no setting"):
        load(config)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'title = "Universit\xe9"\n', "is not valid TOML"), (None, "cannot be read: Is a directory")],
    ids=["not UTF-8", "not to be opened"],
)
def test_a_file_that_cannot_be_read_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, words: str
) -> None:
    """As any other mistake: a running process goes on with the settings of before."""
    if content is None:
        monkeypatch.setattr(Path, "is_file", lambda path: True)
        config.unlink()
        config.mkdir()
    else:
        config.write_bytes(content)
    with pytest.raises(BadSettings, match=words):
        load(config)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way to name another one."""
    monkeypatch.setenv("BEAMDESK_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(BadSettings, match=r"There is no settings file .*nowhere\.toml") as refused:
        load()
    assert "BEAMDESK_CONFIG" in refused.value.hint
