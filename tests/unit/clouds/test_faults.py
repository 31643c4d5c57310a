"""Whatever Libcloud and the network raise becomes an error that says which cloud, doing what, and why."""

from __future__ import annotations

from http.client import IncompleteRead

import pytest
from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.google import GoogleBaseError
from libcloud.common.types import InvalidCredsError, LibcloudError, MalformedResponseError
from requests.exceptions import ConnectionError as NoConnection

from broker.clouds.faults import faults
from broker.clouds.local import LocalCloudError
from broker.errors import CloudBusy, CloudFault, CloudFull, CloudRefused, CloudSignInRefused, CloudUnreachable


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
        (GoogleBaseError({"message": "Rate Limit Exceeded"}, 403, "rateLimitExceeded"), CloudBusy),
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


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (MalformedResponseError("Failed to parse JSON", "<html>" * 1000, driver=object()), "Failed to parse JSON"),
        (GoogleBaseError({"reason": "forbidden", "message": "Not yours."}, 403, "forbidden"), "Not yours"),
        (LibcloudError("Job did not complete", driver=object()), "Job did not complete"),
        (BaseHTTPError(503, "<html>\n  later " + "x" * 9000), "<html> later " + "x" * 487),
        (ValueError(), "ValueError"),
    ],
)
def test_people_are_told_the_providers_words_and_no_whole_page(raised: Exception, said: str) -> None:
    with pytest.raises(CloudFault) as caught, faults("Harwell", "building m1"):
        raise raised
    assert caught.value.message == f"Harwell said no while building m1: {said}."
