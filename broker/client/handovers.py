"""Sessions that one hands over, and those that are offered to one."""

from __future__ import annotations

from typing import Any

from broker.client.api import Api
from broker.errors import InvalidRequest, NotFound

MEANING = """\
Who accepts session {session} owns it: what you have open of it closes, and you can neither open nor end it.
It goes on under the account that it has. If that is yours, who has it can read, change and delete the files in your
home."""


def offered(api: Api, number: int | None) -> dict[str, Any]:
    """The open offer of this number, or the only one. NotFound where there is none, InvalidRequest where several."""
    me = api.get("/me")["name"]
    found = [one for one in api.get("/handovers") if one["state"] == "open" and one["receiver"] == me]
    found = [one for one in found if number in (None, one["id"])]
    if not found:
        raise NotFound("No session is offered to you.", hint="An offer lasts for 15 minutes.")
    if len(found) > 1:
        listed = ", ".join(f"{one['id']} ({one['title']}, of {one['giver_name']})" for one in found)
        raise InvalidRequest("Several sessions are offered to you.", hint=f"Say which: {listed}.")
    return dict(found[0])


def in_words(offer: dict[str, Any]) -> str:
    """What accepting it means."""
    terms = "\n".join(f"- {term}" for term in offer["terms"])
    return f"{offer['giver_name']} hands session {offer['session']} ({offer['title']}) over to you.\n{terms}"
