"""The old manager's API, asked over the wire as the one known client of it asks: its headers, queries and body."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import func, select

from broker import cli
from broker import runtime as runtimes
from broker.events import Event
from broker.identity import service as identity
from broker.identity.guessing import OF_NAME_HERE
from broker.identity.rights import Role
from broker.identity.service import create_account
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions.launch import prepare
from broker.sessions.models import SessionState, UserSession
from broker.settings import VmmSettings
from tests.conftest import FakeLauncher, NewPerson
from tests.integration.web.conftest import AppWith, NewMachines, SignedIn
from tests.integration.web.served import serve
from web.app import create_app

LIGHT, SECRET = 7, 12
VMM = VmmSettings(enabled=True, types={LIGHT: "light-ral", 9: "light-dl", SECRET: "science-ral"})


class OldClient:
    """What VmmClient.java and its HttpClient.java send: these three headers, with each request."""

    def __init__(self, address: str, user: str = "topcat", password: str = "topcat-secret") -> None:  # noqa: S107
        self.address = address
        self.headers = {"VMM-User": user, "VMM-Password": password, "Content-Type": "application/json"}

    def send(self, method: str, offset: str, body: str | None = None) -> tuple[int, str]:
        """Status and text; the client itself looks at the status after a DELETE only."""
        connection = HTTPConnection(self.address, timeout=20)
        connection.request(method, f"/vmm/{offset}", body, self.headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    def get(self, offset: str) -> Any:
        """A GET's answer, parsed as Gson would."""
        return json.loads(self.send("GET", offset)[1])

    def acquire(self, machine_type: int = LIGHT) -> Any:
        """A machine, or None."""
        return json.loads(self.send("POST", "machines", f'{{"machine_type_id": {machine_type}}}')[1])

    def delete(self, machine: int) -> int:
        """The status."""
        return self.send("DELETE", f"machines?id={machine}")[0]


@pytest.fixture
def vmm(app_with: AppWith) -> Iterator[str]:
    """A deployment with the old API switched on; its address."""
    with serve(app_with(vmm=VMM)) as address:
        yield address


@pytest.fixture
def client(vmm: str, runtime: Runtime) -> OldClient:
    """A front end with its service account."""
    create_account(runtime, "topcat", "TopCAT", "topcat-secret", role=Role.SERVICE)
    return OldClient(vmm)


def sessions(runtime: Runtime) -> list[UserSession]:
    """All there are."""
    with runtime.database.reading() as db:
        return list(db.scalars(select(UserSession)))


def test_it_is_off_unless_the_settings_say_so(app_with: AppWith, new_person: NewPerson) -> None:
    """There is nothing at its address, and elsewhere its headers are worth nothing."""
    headers = {"VMM-User": "ada", "VMM-Password": "ada-secret"}
    new_person("ada", admin=True)
    browser = app_with().test_client()
    assert browser.get("/vmm/machinetypes", headers=headers).status_code == 404
    assert browser.get("/api/v1/sessions", headers=headers).status_code == 401


def test_machine_types_have_the_old_names_and_our_own_numbers(client: OldClient, new_machines: NewMachines) -> None:
    """What the old client and its page read: numbers, words, how many are kept and how many are free."""
    new_machines("light-ral", 3)
    kinds = {kind["id"]: kind for kind in client.get("machinetypes")}
    assert list(kinds) == [7, 9, 12]
    light = kinds[LIGHT]
    assert (light["cloud_name"], light["description"]) == ("Harwell", "A terminal.")
    assert light["name"] == "Light desktop (1 core, 1.5 GB, Harwell)"
    assert (light["pool_size"], light["number_available"], light["description_id"]) == (2, 3, LIGHT)
    assert light["parameters"] == {"group": ""}
    assert 0 <= light["cloud_id"] < 2**31
    assert light["cloud_id"] != kinds[9]["cloud_id"]
    assert client.get(f"machinetypes?id={LIGHT}") == [light]
    assert client.get("machinetypes?id=8") is None


def test_an_acquired_machine_is_a_session_of_the_account(
    client: OldClient, runtime: Runtime, new_machines: NewMachines, launcher: FakeLauncher
) -> None:
    """From this very pool, its desktop is started at once, and the audit log says who asked."""
    new_machines("light-dl")
    new_machines("light-ral")
    machine = client.acquire(LIGHT)
    assert machine == {"id": 1, "machine_type_id": LIGHT, "hostname": "10.0.0.1", "state": "acquired"}
    (session,) = sessions(runtime)
    assert (session.state, session.pool) == (SessionState.PREPARING, "light-ral")
    assert launcher.started == [session.id]
    with runtime.database.reading() as db:
        assert db.scalar(select(Event.actor).where(Event.action == "session:requested")) == "topcat"


def test_without_a_vacant_machine_the_answer_is_null_and_nothing_is_left(
    client: OldClient, runtime: Runtime, new_machines: NewMachines, launcher: FakeLauncher
) -> None:
    """Nobody is queued, no other pool is taken from, no session and no line of the log stays."""
    new_machines("light-dl")
    assert client.send("POST", "machines", '{"machine_type_id": 7}') == (200, "null\n")
    assert sessions(runtime) == []
    assert launcher.started == []
    with runtime.database.reading() as db:
        assert db.scalar(select(func.count()).where(Event.kind == "session")) == 0


def test_a_drained_pool_has_none(client: OldClient, admin: FlaskClient, new_machines: NewMachines) -> None:
    """Though machines of it are vacant still."""
    new_machines("light-ral")
    assert admin.post("/api/v1/admin/pools/light-ral/drain", json={}).status_code == 200
    assert client.acquire() is None
    assert client.get(f"machinetypes?id={LIGHT}")[0]["number_available"] == 0


def test_who_waits_in_the_portal_is_not_overtaken(
    client: OldClient, signed_in: SignedIn, new_machines: NewMachines
) -> None:
    """A machine that becomes vacant is theirs."""
    assert signed_in("bob").post("/api/v1/sessions", json={"environment": "light"}).json["state"] == "queued"
    new_machines("light-ral")
    assert client.get(f"machinetypes?id={LIGHT}")[0]["number_available"] == 0
    assert client.acquire() is None


def test_no_two_requests_get_the_same_machine(each_runtime: Runtime) -> None:
    """Twelve at once for eight machines, more than a person's quota: eight different ones, and null for four."""
    pool = each_runtime.settings.pools["light-ral"]
    with each_runtime.database.transaction() as db:
        db.add_all(
            Machine(
                pool=pool.name,
                environment=pool.environment,
                size=pool.size,
                cloud=pool.cloud,
                state=MachineState.VACANT,
                address=f"10.0.0.{n}",
            )
            for n in range(8)
        )
    create_account(each_runtime, "topcat", "TopCAT", "topcat-secret", role=Role.SERVICE)
    settings = each_runtime.settings.model_copy(update={"vmm": VMM})
    together = Barrier(12)

    def acquire(client: OldClient) -> Any:
        together.wait()
        return client.acquire()

    app = create_app(Runtime(settings, each_runtime.database), FakeLauncher())
    with serve(app) as address, ThreadPoolExecutor(12) as threads:
        machines = [m for m in threads.map(acquire, [OldClient(address)] * 12) if m is not None]
    assert sorted(machine["hostname"] for machine in machines) == [f"10.0.0.{n}" for n in range(8)]
    assert len({machine["id"] for machine in machines}) == 8
    assert len(sessions(each_runtime)) == 8


def test_a_machine_that_cannot_start_its_desktop_is_not_swapped_for_another(
    client: OldClient, runtime: Runtime, new_machines: NewMachines, tmp_path: Path
) -> None:
    """The front end was told an address; it is not left with one that means nothing, nor with a second machine."""
    _, other = new_machines("light-ral", 2)
    machine = client.acquire()
    silent = runtime.settings.clouds["ral"].model_copy(update={"options": {"socket": str(tmp_path / "nobody.sock")}})
    prepare(Runtime(runtime.settings.model_copy(update={"clouds": {"ral": silent}}), runtime.database), machine["id"])
    (session,) = sessions(runtime)
    assert session.state == SessionState.FAILED
    with runtime.database.reading() as db:
        assert db.get_one(Machine, other).state == MachineState.VACANT


def test_a_machine_is_given_back_once_however_often_it_is_asked(
    client: OldClient, runtime: Runtime, new_machines: NewMachines
) -> None:
    """200 is what the old client wants to see; the session ends as one that its owner ends."""
    new_machines("light-ral")
    machine = client.acquire()
    assert [client.delete(machine["id"]) for _ in range(2)] == [200, 200]
    (session,) = sessions(runtime)
    assert (session.state, session.end_reason) == (SessionState.ENDING, "given back by its front end")


def test_another_front_ends_machine_cannot_be_given_back(
    client: OldClient, vmm: str, runtime: Runtime, new_machines: NewMachines
) -> None:
    """Nor does anybody learn that it exists."""
    new_machines("light-ral")
    machine = client.acquire()
    create_account(runtime, "other", "Other", "other-secret", role=Role.SERVICE)
    stranger = OldClient(vmm, "other", "other-secret")
    assert [stranger.delete(machine["id"]), stranger.delete(99)] == [404, 404]
    assert sessions(runtime)[0].state == SessionState.PREPARING


def test_a_front_end_sees_what_its_groups_may_use(vmm: str, runtime: Runtime, app_with: AppWith) -> None:
    """An environment for few is no machine type for others, and cannot be asked for by its number."""
    few = runtime.settings.environments["science"].model_copy(update={"groups": ("few",)})
    environments = {**runtime.settings.environments, "science": few}
    create_account(runtime, "topcat", "TopCAT", "topcat-secret", role=Role.SERVICE)
    create_account(runtime, "few", "Few", "few-secret", role=Role.SERVICE, groups=("few",))
    with serve(app_with(vmm=VMM, environments=environments)) as address:
        anybody, member = OldClient(address), OldClient(address, "few", "few-secret")
        assert SECRET not in [kind["id"] for kind in anybody.get("machinetypes")]
        assert anybody.send("POST", "machines", f'{{"machine_type_id": {SECRET}}}')[0] == 404
        assert member.get(f"machinetypes?id={SECRET}")[0]["parameters"] == {"group": "few"}


def test_a_shared_bases_pool_is_no_machine_type(runtime: Runtime, app_with: AppWith, new_machines: NewMachines) -> None:
    """Its machines wait for any of several environments; the number is as one that was never given."""
    create_account(runtime, "topcat", "TopCAT", "topcat-secret", role=Role.SERVICE)
    base = runtime.settings.pools["light-dl"].model_copy(update={"environment": "common"})
    with serve(app_with(vmm=VMM, pools={**runtime.settings.pools, "light-dl": base})) as address:
        client = OldClient(address)
        assert [kind["id"] for kind in client.get("machinetypes")] == [LIGHT, SECRET]
        assert client.get("descriptions?id=9") is None


def test_a_description_comes_with_a_picture(client: OldClient) -> None:
    """The old page shows the logo as a PNG."""
    told = client.get(f"descriptions?id={LIGHT}")
    assert (told["id"], told["name"], told["description"]) == (LIGHT, "Light desktop", "A terminal.")
    picture = Image.open(io.BytesIO(base64.b64decode(told["logo"], validate=True)))
    assert (picture.format, picture.size) == ("PNG", (128, 128))
    assert picture.getchannel("A").getextrema() == (0, 255), "something is drawn, and not everywhere"
    assert client.get("descriptions?id=8") is None


@pytest.mark.parametrize("body", ['{"machine_type_id": "seven"}', "{}", "[7]", "seven"])
def test_a_request_that_makes_no_sense_is_a_problem_in_json(client: OldClient, body: str) -> None:
    """Its fields are named, as everywhere else."""
    status, text = client.send("POST", "machines", body)
    assert (status in (400, 422), json.loads(text)["status"]) == (True, status)


def test_who_is_no_service_account_is_refused(vmm: str, app_with: AppWith, signed_in: SignedIn) -> None:
    """A wrong password, a person's right one, and a cookie alone; failures are in the audit log."""
    browser = signed_in("ada", admin=True)
    assert OldClient(vmm, "ada", "wrong").send("GET", "machinetypes")[0] == 401
    assert OldClient(vmm, "ada", "ada-secret").send("GET", "machinetypes")[0] == 403
    cookie = browser.get_cookie("beamdesk")
    assert cookie is not None
    other = app_with(vmm=VMM).test_client()
    other.set_cookie("beamdesk", cookie.value)
    assert other.get("/vmm/machinetypes").status_code == 401
    events = browser.get("/api/v1/admin/audit").json
    assert ("account:sign-in-failed", "ada") in [(event["action"], event["subject"]) for event in events]


def test_guessing_a_service_accounts_password_is_stopped(client: OldClient, vmm: str) -> None:
    """As for people."""
    guesser = OldClient(vmm, password="guess")
    assert {guesser.send("GET", "machinetypes")[0] for _ in range(OF_NAME_HERE)} == {401}
    assert guesser.send("GET", "machinetypes")[0] == 429


def test_a_front_end_that_was_proved_is_not_locked_out_by_guessers(client: OldClient, vmm: str) -> None:
    """Its right password is known again without the slow check, of which only a few are done at a time."""
    assert client.send("GET", "machinetypes")[0] == 200
    guesser = OldClient(vmm, password="guess")
    assert [guesser.send("GET", "machinetypes")[0] for _ in range(OF_NAME_HERE + 1)][-1] == 429
    assert client.send("GET", "machinetypes")[0] == 200


def test_a_password_that_was_changed_is_worth_nothing_at_once(client: OldClient, vmm: str, runtime: Runtime) -> None:
    """Nor is an account that is no service's any more."""
    assert client.send("GET", "machinetypes")[0] == 200
    create_account(runtime, "topcat", "TopCAT", "another-secret", role=Role.SERVICE)
    assert client.send("GET", "machinetypes")[0] == 401
    changed = OldClient(vmm, password="another-secret")
    assert changed.send("GET", "machinetypes")[0] == 200
    create_account(runtime, "topcat", "TopCAT", "another-secret", role=Role.USER)
    assert changed.send("GET", "machinetypes")[0] == 403


def test_a_service_account_cannot_sign_in(app_with: AppWith, new_person: NewPerson, runtime: Runtime) -> None:
    """Neither in the portal nor over the API; and sign-ins of before it became one end."""
    browser = app_with(vmm=VMM).test_client()
    account = {"name": "topcat", "password": "topcat-secret"}
    new_person("topcat")
    assert browser.post("/api/v1/sign-in", json=account).status_code == 200
    create_account(runtime, "topcat", "TopCAT", "topcat-secret", role=Role.SERVICE)
    assert browser.get("/api/v1/me").status_code == 401
    browser.delete_cookie("beamdesk")
    assert browser.post("/api/v1/sign-in", json=account).json["code"] == "forbidden"
    page = browser.post("/sign-in", data=account)
    assert (page.status_code, "Set-Cookie" in page.headers) == (403, False)


def test_the_command_makes_a_service_account(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """`beamdesk account add --role service`."""
    monkeypatch.setattr(runtimes, "current", lambda: runtime)
    command = ["account", "add", "topcat", "--full-name", "TopCAT", "--role", "service", "--password", "topcat-secret"]
    done = CliRunner().invoke(cli.main, command)
    assert done.output.startswith("topcat (TopCAT) may ask for machines")
    assert identity.service_account(runtime, "topcat", "topcat-secret").is_service
