"""Whatever Libcloud and the network raise becomes an error that says which cloud, doing what, and why."""

from __future__ import annotations

from http.client import IncompleteRead

import pytest
from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.google import GoogleBaseError
from libcloud.common.types import InvalidCredsError, LibcloudError, MalformedResponseError
from requests.exceptions import ConnectionError as NoConnection

from broker.clouds.adapter import BuildSpec, open_cloud
from broker.clouds.common import faults, listed, name_of_request
from broker.clouds.local import LocalCloudError
from broker.errors import (
    BadSettings,
    CloudBusy,
    CloudFault,
    CloudFull,
    CloudRefused,
    CloudSignInRefused,
    CloudUnreachable,
)
from broker.settings import CloudSettings


class Coded(LibcloudError):
    """Some drivers' errors have a text for a code."""

    code = "Client.InvalidParameter"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (LocalCloudError(507, "full"), CloudFull),
        (LocalCloudError(409, "not running"), CloudRefused),
        (LocalCloudError(500, "mount failed"), CloudFault),
        (BaseHTTPError(403, "Quota exceeded for instances"), CloudFull),
        (BaseHTTPError(403, "policy"), CloudRefused),
        (BaseHTTPError(503, "later"), CloudFault),
        (InvalidCredsError("who are you"), CloudSignInRefused),
        (BaseHTTPError(401, "token expired"), CloudSignInRefused),
        (BaseHTTPError(429, "slower"), CloudBusy),
        (MalformedResponseError("not JSON", "<html>"), CloudFault),
        (Coded("wrong"), CloudFault),
        (KeyError("state"), CloudFault),
        (GoogleBaseError({"message": "no"}, 403, "forbidden"), CloudRefused),
        (TimeoutError("timed out"), CloudUnreachable),
        (ConnectionRefusedError(111, "Connection refused"), CloudUnreachable),
        (NoConnection("no route"), CloudUnreachable),
        (IncompleteRead(b"{"), CloudUnreachable),
    ],
)
def test_an_error_says_which_cloud_did_what(raised: Exception, kind: type[CloudFault]) -> None:
    with (
        pytest.raises(CloudFault, match=r"^Harwell .* while building m1: .") as caught,
        faults("Harwell", "building m1"),
    ):
        raise raised
    assert type(caught.value) is kind
    assert caught.value.__cause__ is raised


def test_a_local_cloud_without_its_socket_is_bad_settings() -> None:
    settings = CloudSettings(name="ral", title="Harwell", driver="beamdesk-local", location="ral", image="host")
    with pytest.raises(BadSettings, match=r"clouds\.ral\.options\.socket: Field required") as caught:
        open_cloud(settings)
    assert "these options: socket" in caught.value.hint


@pytest.mark.parametrize(("option", "names"), [("", []), (" , ", []), ("one", ["one"]), ("one, two,,", ["one", "two"])])
def test_empty_names_between_commas_are_passed_over(option: str, names: list[str]) -> None:
    assert listed(option) == names


def test_the_name_of_a_request_is_its_own_and_short_enough_for_a_host() -> None:
    def named(name: str, request: str) -> str:
        return name_of_request(BuildSpec(name, "s", "i", {}, "ca", request))

    assert named("dls-m1", "dls-machine-1") == named("dls-m1", "dls-machine-1")
    assert named("dls-m1", "dls-machine-1") != named("dls-m1", "isis-machine-1")
    assert len(named("x" * 200, "r")) == 63
