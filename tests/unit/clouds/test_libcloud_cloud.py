"""What clouds do alike."""

from __future__ import annotations

from broker.clouds.adapter import BuildSpec
from broker.clouds.libcloud_cloud import name_of_request


def test_the_name_of_a_request_is_its_own_and_short_enough_for_a_host() -> None:
    def named(name: str, request: str) -> str:
        return name_of_request(BuildSpec(name, "s", "i", {}, "ca", request))

    assert named("dls-m1", "dls-machine-1") == named("dls-m1", "dls-machine-1")
    assert named("dls-m1", "dls-machine-1") != named("dls-m1", "isis-machine-1")
    assert len(named("x" * 200, "r")) == 63
