"""Calls of the API. What it refuses is raised as a BrokerError with its own words."""

from __future__ import annotations

from typing import Any

import requests

from broker.client.account import Account
from broker.errors import BrokerError, NotSignedIn, ServiceDown

SECONDS = 30.0


class Api:
    """One Beamdesk's API, with the token of an account or without."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._http = requests.Session()
        self._http.headers["User-Agent"] = "beamdesk-cli"
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def of(cls, account: Account) -> Api:
        """That of the Beamdesk where one is signed in."""
        return cls(account.url, account.token)

    def get(self, path: str) -> Any:
        """The answer's JSON."""
        return _json(self._send("GET", path))

    def text(self, path: str) -> str:
        """The answer as it is: a file."""
        return self._send("GET", path).text

    def post(self, path: str, **body: Any) -> Any:
        """The answer's JSON; None where it has none."""
        return _json(self._send("POST", path, body))

    def delete(self, path: str) -> None:
        """Delete what is at this address."""
        self._send("DELETE", path)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        address = f"{self._url}/api/v1{path}"
        try:
            answer = self._http.request(method, address, json=body, timeout=SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            kind = type(error).__name__
            raise ServiceDown(
                f"{self._url} does not answer ({kind}).", hint="Check the address and your network."
            ) from None
        if answer.status_code == 401:
            raise NotSignedIn("Your sign-in has ended.", hint="Sign in again: beamdesk login")
        if not 200 <= answer.status_code < 300:
            raise _refused(_json(answer), answer.status_code)
        return answer


def _json(answer: requests.Response) -> Any:
    if answer.status_code == 204:
        return None
    try:
        return answer.json()
    except ValueError:
        said = f"What answers there is no Beamdesk (status {answer.status_code})."
        raise _refused({"detail": said, "hint": "Check the address."}, answer.status_code) from None


def _refused(problem: dict[str, Any], status: int) -> BrokerError:
    """The error with the API's own words and code."""
    error = BrokerError(problem.get("detail") or f"The answer was {status}.", hint=problem.get("hint") or "")
    error.status, error.code = status, problem.get("code") or error.code
    return error
