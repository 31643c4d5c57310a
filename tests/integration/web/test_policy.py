"""What a desktop's doors may do, as the API tells its owner and a guest."""

from __future__ import annotations

from tests.integration.web.conftest import AppWith, SignedIn

OUT = {"clipboard_out", "files_out", "printing", "audio"}


def test_a_session_tells_what_its_doors_may_do(signed_in: SignedIn, app_with: AppWith, ready_session: int) -> None:
    """By name and in words: of the environment and of the user's groups as they are now, and of a guest's, too."""
    alice, bob = signed_in("alice"), signed_in("bob", groups=("nothing-in",))
    path = f"/api/v1/sessions/{ready_session}"
    assert alice.post(f"{path}/shares", json={"user": "bob"}).status_code == 201
    told = alice.get(path).json
    assert (set(told["policy"].values()), told["not_allowed"]) == ({True}, [])
    signed_in("alice", groups=("nothing-out",))  # her groups from now on
    told = alice.get(path).json
    assert {name for name, may in told["policy"].items() if not may} == OUT
    assert told["not_allowed"][0] == "Copying out of this desktop is not allowed here."
    assert set(bob.get("/api/v1/shares").json[0]["policy"].values()) == {False}
    gone, cookie = app_with(environments={}).test_client(), alice.get_cookie("beamdesk")
    gone.set_cookie("beamdesk", cookie.value if cookie else "")
    assert set(gone.get(path).json["policy"].values()) == {False}
