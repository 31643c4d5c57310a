"""Files of a session's home: who may move them. These machines are rows; tests/journeys moves files on real ones."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from broker.database import now
from broker.errors import NotSignedIn, OverQuota, SessionNotReady
from broker.identity.models import SignIn, User
from broker.identity.service import begin_sign_in
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.sessions import service, transfers
from tests.conftest import NewPerson
from tests.integration.web.conftest import SignedIn

IN, OUT, LIST = "files_in", "files_out", "list"


@pytest.fixture(autouse=True)
def no_machine(runtime: Runtime, ready_session: int) -> None:
    """Nothing proves who the machine is: whoever gets as far as to it is told so at once."""
    with runtime.database.transaction() as db:
        db.execute(update(Machine).values(host_key=""))


def ask(client: FlaskClient, session_id: int, what: str, **query: str) -> tuple[int, str]:
    """What the API says to a list, an upload or a download: its status, and the error's code."""
    path, values = f"/api/v1/sessions/{session_id}/files", {"folder": "Desktop", "name": "x", **query}
    if what == IN:
        answer = client.post(path, query_string=values, data=b"x", headers={"X-Requested-With": "test"})
    elif what == OUT:
        answer = client.get(f"{path}/content", query_string=values)
    else:
        answer = client.get(path, query_string={"folder": values["folder"]})
    return answer.status_code, answer.json["code"]


def test_the_policy_holds_for_files_and_nobody_but_the_owner_moves_any(
    signed_in: SignedIn, app_client: FlaskClient, ready_session: int
) -> None:
    """The machine is asked by who may ask alone; a guest who controls the desktop may not."""
    alice, bob, ada = signed_in("alice"), signed_in("bob"), signed_in("ada", admin=True)
    path = f"/api/v1/sessions/{ready_session}/shares"
    assert alice.post(path, json={"user": "bob", "control": True}).status_code == 201
    reached = (503, "machine-unreachable")
    for what in (IN, OUT, LIST):
        assert ask(alice, ready_session, what) == reached
        assert ask(bob, ready_session, what) == (404, "not-found")
        assert ask(ada, ready_session, what) == (403, "forbidden")
        assert ask(app_client, ready_session, what) == (401, "not-signed-in")
    for group, refused in (("nothing-in", IN), ("nothing-out", OUT)):
        alice = signed_in("alice", groups=(group,))
        for what in (IN, OUT, LIST):
            assert ask(alice, ready_session, what) == ((403, "forbidden") if what == refused else reached)
    alice = signed_in("alice", groups=("nothing-in", "nothing-out"))
    assert ask(alice, ready_session, LIST) == (403, "forbidden")


@pytest.fixture
def app_client(alice: FlaskClient) -> FlaskClient:
    """A browser in which nobody is signed in."""
    return alice.application.test_client()


@pytest.mark.parametrize(
    ("folder", "name"), [("..", "x"), ("/etc", "passwd"), ("a//b", "x"), ("", ".."), ("", "a/b"), ("", "a\n"), ("", "")]
)
def test_a_path_that_leads_elsewhere_never_reaches_a_machine(
    alice: FlaskClient, ready_session: int, folder: str, name: str
) -> None:
    for what in (IN, OUT):
        assert ask(alice, ready_session, what, folder=folder, name=name) == (422, "invalid-request")


def test_another_sites_page_uploads_nothing(alice: FlaskClient, ready_session: int) -> None:
    """And who does not say how much comes is not waited for."""
    path, values = f"/api/v1/sessions/{ready_session}/files", {"name": "x"}
    elsewhere = {"Origin": "http://evil.example", "X-Requested-With": "test"}
    assert alice.post(path, query_string=values, data=b"x", headers=elsewhere).json["code"] == "wrong-origin"
    assert alice.post(path, query_string=values, data=b"x").json["code"] == "wrong-origin"
    endless = {"X-Requested-With": "test", "Transfer-Encoding": "chunked"}
    assert alice.post(path, query_string=values, headers=endless).json["code"] == "invalid-request"


def test_transfers_leave_the_portal_its_threads() -> None:
    """One person has some at once, and all together have so many; each gives its place back."""
    slots = transfers.Slots()
    with ExitStack() as running:
        for user in (1, 1, 1, 1, 2):
            running.enter_context(slots.one(user, 5))
        for user, most in ((1, 99), (3, 5)):
            with pytest.raises(OverQuota), slots.one(user, most):
                pass
    with slots.one(1, 1):
        pass


@pytest.mark.parametrize("ends", ["session", "sign-in"])
def test_what_goes_on_is_cut_when_its_session_or_its_sign_in_ends(
    runtime: Runtime, new_person: NewPerson, ready_session: int, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Both are looked up again on the way."""
    monkeypatch.setattr(transfers, "EVERY", 0)
    with runtime.database.reading() as db:
        user = db.get_one(User, new_person("alice").user_id)
    _, alice = begin_sign_in(runtime, user)
    pieces = transfers._while_allowed(iter((b"1", b"2")), lambda: transfers._desktop(runtime, alice, ready_session))
    assert next(pieces) == b"1"
    if ends == "session":
        service.end(runtime, alice, ready_session)
    else:
        with runtime.database.transaction() as db:
            db.execute(update(SignIn).values(revoked_at=now()))
    with pytest.raises(SessionNotReady if ends == "session" else NotSignedIn):
        next(pieces)
