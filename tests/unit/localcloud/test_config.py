"""localcloud.toml: a mistake names its key, its value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.localcloud.config import ConfigError, load

DEMO = Path(__file__).parents[3] / "localcloud.toml"


def test_the_demos_own_file_is_good() -> None:
    config = load(DEMO)
    assert list(config.locations) == ["ral", "dl"]
    assert config.sizes["large-gpu"].gpus == 1
    assert config.sizes["small"].memory_mb == 1536


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "demo"', "name = 7", "name = 7: must be text"),
        ("max_nodes = 40", 'max_nodes = "40"', "max_nodes = '40': must be a number from 1"),
        ("max_nodes = 40", "max_nodes = 0", "max_nodes = 0: must be a number from 1"),
        ("max_nodes = 40", "max_nodes = true", "max_nodes = True: must be a number from 1"),
        ("max_nodes = 40", "", "max_nodes is missing"),
        ("max_nodes = 40", "max_node = 40", "max_node = 40: no such key; allowed: name, subnet, max_nodes"),
        ("10.231.7.0/24", "10.231.7.0/33", "subnet = '10.231.7.0/33': '33' is not a valid netmask; give a private one"),
        ("10.231.7.0/24", "10.231.7.1/24", "subnet = '10.231.7.1/24': 10.231.7.1/24 has host bits set; give"),
        ("10.231.7.0/24", "8.8.8.0/24", "subnet = '8.8.8.0/24': must be private and between /16 and /29"),
        ("10.231.7.0/24", "10.231.7.0/30", "subnet = '10.231.7.0/30': must be private and between /16 and /29"),
        ("cores = 1\n", "cores = 0\n", "sizes[0].cores = 0: must be a number from 1"),
        ("disk_mb = 2048", "disk_mb = 0", "sizes[1].disk_mb = 0: must be a number from 1"),
        ("gpus = 1", "gpus = -1", "sizes[2].gpus = -1: must be a number from 0"),
        ("gpus = 1", "", "sizes[2].gpus is missing"),
        ("gpus = 1", "gpus = 1\ncuda = 12", "sizes[2].cuda = 12: no such key; allowed: id, name, cores"),
        ('id = "medium"', 'id = "small"', "sizes[1].id = 'small': another one has this id"),
        ('images = [{ id = "host", name = "This host\'s own system" }]', "images = []", "images = []: must be a list"),
        (
            'images = [{ id = "host", name = "This host\'s own system" }]',
            "images = [1]",
            "images[0] = 1: must be a table",
        ),
        ('name = "demo"', "name = ", "is not valid TOML: Invalid value (at line 3"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "localcloud.toml"
    text = DEMO.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin").write_bytes("name = 'é'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin is not valid TOML: 'utf-8' codec"):
        load(tmp_path / "latin")
