"""What is said of options that a cloud cannot use, and how several names are read from one."""

from __future__ import annotations

import pytest

from broker.clouds.adapter import open_cloud
from broker.clouds.options import listed
from broker.errors import BadSettings
from broker.settings import CloudSettings


def test_a_local_cloud_without_its_socket_is_bad_settings() -> None:
    settings = CloudSettings(name="ral", title="Harwell", driver="beamdesk-local", location="ral", image="host")
    with pytest.raises(BadSettings, match=r"clouds\.ral\.options\.socket: Field required") as caught:
        open_cloud(settings)
    assert "these options: socket" in caught.value.hint


@pytest.mark.parametrize(("option", "names"), [("", []), (" , ", []), ("one", ["one"]), ("one, two,,", ["one", "two"])])
def test_empty_names_between_commas_are_passed_over(option: str, names: list[str]) -> None:
    assert listed(option) == names
