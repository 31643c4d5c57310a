"""What a libvirt's options must say, and what its absence is called."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from broker.clouds.adapter import CloudSize, open_cloud
from broker.clouds.libvirt import _addresses, sizes_of
from broker.errors import BadSettings
from broker.settings import CloudSettings


def settings(**options: str) -> CloudSettings:
    return CloudSettings(name="kvm", title="KVM", driver="libvirt", location="ral", image="i", options=options)


def test_without_its_bindings_libvirt_is_bad_settings_that_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name == "libvirt":
            raise ImportError("No module named 'libvirt'")
        return known(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(BadSettings, match=r"clouds\.kvm\.driver: libvirt's Python bindings are missing") as caught:
        open_cloud(settings(uri="qemu:///system", sizes="small:1:1:5"))
    assert "pip install 'beamdesk[libvirt]'" in caught.value.hint


@pytest.mark.parametrize("sizes", ["small", "small:1:1", "small:one:1:5"])
def test_sizes_that_cannot_be_read_are_named_with_how_they_are_written(sizes: str) -> None:
    with pytest.raises(BadSettings, match=r"options\.sizes: .*small:2:4:20, large:8:32:80"):
        open_cloud(settings(uri="qemu:///system", sizes=sizes))


def test_sizes_are_read_from_one_line() -> None:
    assert sizes_of("small:2:4:20, large:8:32.5:80,") == [
        CloudSize("small", "small", 2, 4, 20),
        CloudSize("large", "large", 8, 32.5, 80),
    ]


class FakeDomain:
    """Whose guest's agent has these addresses, by interface; its network's DHCP knows none."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = addresses

    def interfaceAddresses(self, source: int, _: int) -> dict[str, Any]:
        known = self.addresses if source == 1 else {}
        return {name: {"addrs": [{"addr": address} for address in has]} for name, has in known.items()}


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        ({"lo": ["127.0.0.1"], "eth0": ["10.0.0.5"]}, ["10.0.0.5"]),
        ({"eth0": ["fe80::5054:ff:fe12:3456", "10.0.0.5"]}, ["10.0.0.5"]),
        ({"eth0": ["fe80::5054:ff:fe12:3456"]}, []),
        ({"eth0": ["169.254.7.7"]}, []),
    ],
)
def test_an_address_that_a_guest_gave_itself_is_none(addresses: dict[str, list[str]], found: list[str]) -> None:
    """Nobody else reaches it there, and the right one comes in a moment."""
    assert _addresses(FakeDomain(**addresses)) == found
